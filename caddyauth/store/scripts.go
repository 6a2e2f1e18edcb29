package store

import "github.com/redis/go-redis/v9"

// The scripts are the operations of Store as Redis runs them. Each touches the one key that it is called with, and
// answers with a number and the nonce, its last argument. They use the server's clock, so that the clocks of several
// Caddys need not agree. An id is a string that holds the owner of its reservation, or the zero owner when it is kept;
// a group is a sorted set of sessions, scored by when their leases end, in Unix milliseconds. Both expire by themselves.

// reserveScript: owner, lease, the zero owner. It answers 0 for reserved, 1 for fresh, 2 for kept.
var reserveScript = redis.NewScript(`
local held = redis.call('GET', KEYS[1])
if held == ARGV[3] then
	return {2, ARGV[4]}
elseif held and held ~= ARGV[1] then
	return {0, ARGV[4]}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {1, ARGV[4]}
`)

// keepScript: the zero owner, window. A server whose memory is full refuses a SET, unless the script has already written
// something that needs no memory: the PEXPIRE.
var keepScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] or redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
	redis.call('PEXPIRE', KEYS[1], ARGV[2])
	redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return {1, ARGV[3]}
`)

// releaseScript: owner.
var releaseScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then
	redis.call('DEL', KEYS[1])
end
return {1, ARGV[2]}
`)

// acquireScript: session, lease, limit. It opens or extends the session, and keeps the group at least as long. A TIME before a
// write needs Redis 5, which replicates what a script did and not the script.
var acquireScript = redis.NewScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then
	return {0, ARGV[4]}
end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
	redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return {1, ARGV[4]}
`)

// leaveScript: session.
var leaveScript = redis.NewScript(`
redis.call('ZREM', KEYS[1], ARGV[1])
return {1, ARGV[2]}
`)
