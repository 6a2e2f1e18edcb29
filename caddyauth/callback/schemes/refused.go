package schemes

import "github.com/caddyauth/callbacks/caddyauth/callback"

// refused is the refusal of a genuine message. It names the key that signed it, for logs.
func refused(key string, err error) callback.Verdict {
	v := callback.Refuse(err)
	v.Key = key
	return v
}

// overBody is the verdict on a message that is accepted so far, and whose body has yet to pass check.
func overBody(accepted callback.Verdict, check func(body []byte) error) callback.Verdict {
	done := accepted
	accepted.Then = func(body []byte) callback.Verdict {
		if err := check(body); err != nil {
			return refused(done.Key, err)
		}
		return done
	}
	return accepted
}
