package store

import "testing"

func realRedis(t *testing.T) map[string]string { t.Skip("later"); return nil }
