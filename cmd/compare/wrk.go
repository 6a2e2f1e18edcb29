package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// script has wrk send the requests that were made ahead, each once, and say how many were answered, and how many badly.
const script = `
local heads, body, sent = {}, "", 0

local function piece(file)
	local size = file:read(4)
	if not size then return nil end
	local a, b, c, d = size:byte(1, 4)
	return file:read(((a * 256 + b) * 256 + c) * 256 + d)
end

function init(args)
	local file = assert(io.open(args[1], "rb"))
	body = piece(file)
	for head in function() return piece(file) end do heads[#heads + 1] = head end
	file:close()
end

function request()
	sent = sent % #heads + 1
	return heads[sent] .. body
end

function done(summary)
	local e = summary.errors
	io.write(string.format("answered %d bad %d\n", summary.requests, e.connect + e.read + e.write + e.status + e.timeout))
end
`

// wrk sends requests for a second, from one thread, so that none is sent twice, and returns how many were answered. More
// were made than can be answered in that time; where they are used up all the same, a gate that remembers ids tells.
func (b *bench) wrkRun(ctx context.Context, l *load, connections int) (answered int, err error) {
	code, file := filepath.Join(b.scratch, "wrk.lua"), filepath.Join(b.scratch, "requests")
	if err := os.WriteFile(code, []byte(script), 0o600); err != nil {
		return 0, err
	}
	var pieces bytes.Buffer
	for _, piece := range append([][]byte{l.body}, l.heads...) {
		_ = binary.Write(&pieces, binary.BigEndian, uint32(len(piece)))
		pieces.Write(piece)
	}
	if err := os.WriteFile(file, pieces.Bytes(), 0o600); err != nil {
		return 0, err
	}
	out, err := exec.CommandContext(ctx, b.wrk, "-t1", "-c"+strconv.Itoa(connections), "-d1s", "-s", code, "http://"+l.addr+"/hook", file).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("wrk: %v\n%s", err, out)
	}
	var bad int
	i := bytes.Index(out, []byte("answered "))
	if i < 0 {
		return 0, fmt.Errorf("wrk: %s", out)
	}
	if _, err := fmt.Sscanf(string(out[i:]), "answered %d bad %d", &answered, &bad); err != nil {
		return 0, fmt.Errorf("wrk: %v", err)
	}
	if bad > 0 || answered == 0 {
		return 0, fmt.Errorf("wrk: of %d requests %d had no good answer", answered, bad)
	}
	return answered, nil
}
