// Package clock tells the time of a request, so that a test can say what time it is.
package clock

import (
	"context"
	"time"
)

type key struct{}

// At returns a context in which Now gives t. Only tests use it: no request can carry a context.
func At(ctx context.Context, t time.Time) context.Context {
	return context.WithValue(ctx, key{}, t)
}

// Now returns the time of ctx: the wall clock, unless At said otherwise.
func Now(ctx context.Context) time.Time {
	if t, ok := ctx.Value(key{}).(time.Time); ok {
		return t
	}
	return time.Now()
}
