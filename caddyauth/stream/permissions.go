package stream

import (
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/internal/strictjson"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// mediaMTXClaim is the claim of MediaMTX's tokens: a list of permissions, or that list as a JSON text
// (its documentation, "Authentication", JWT).
const mediaMTXClaim = "mediamtx_permissions"

// mediaMTXModes are the actions of permissions that rules here speak of. Others (api, metrics, pprof) are for MediaMTX.
var mediaMTXModes = map[string]Mode{"publish": Publish, "read": Play, "playback": Play}

// checkMediaMTX holds the permissions of a token against the stream of q, and its action where MediaMTX asks, to which
// reading and playing back are two things; else its mode. A permission without a path is good for every one. One whose
// path is a regular expression (`~…`) makes the token not valid: what it would match is for MediaMTX to say.
func checkMediaMTX(q *Request, claims strictjson.Value) error {
	value, ok := claims.Get(mediaMTXClaim)
	if !ok {
		return verdict.Errorf(verdict.BadClaim, "the token has no claim %s", mediaMTXClaim)
	}
	refusal := verdict.Errorf(verdict.BadClaim, "the token's claim %s is not a list of permissions", mediaMTXClaim)
	if text, isText := value.Text(); isText {
		var err error
		if value, err = strictjson.ParseString(text); err != nil {
			return refusal
		}
	}
	if value.Kind() != strictjson.Array {
		return refusal
	}
	granted := false
	for _, item := range value.Items() {
		if item.Kind() != strictjson.Object {
			return refusal
		}
		permission := make(map[string]string)
		for _, name := range []string{"action", "path"} {
			if member, ok := item.Get(name); ok {
				if permission[name], ok = member.Text(); !ok {
					return refusal
				}
			}
		}
		path := permission["path"]
		if strings.HasPrefix(path, "~") {
			return verdict.Errorf(verdict.BadClaim, "the token's claim %s has a regular expression for a path", mediaMTXClaim)
		}
		mode, known := mediaMTXModes[permission["action"]]
		if _, asks := mediaMTXModes[q.Action]; asks {
			known = permission["action"] == q.Action
		}
		if known && mode == q.Mode && (path == "" || path == q.Stream()) {
			granted = true
		}
	}
	if !granted {
		return verdict.Errorf(verdict.BadClaim, "the token permits neither this stream nor this mode")
	}
	return nil
}
