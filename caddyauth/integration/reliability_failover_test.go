package integration

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// startCluster runs a cluster of a primary and its replica.
func startCluster(t *testing.T) (primary, replica *redisServer) {
	t.Helper()
	node := func() (*redisServer, string) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, bus, _ := net.SplitHostPort(listener.Addr().String())
		_ = listener.Close()
		return startRedisServer(t, "cluster-enabled yes", "cluster-port "+bus, "cluster-node-timeout 1000"), bus
	}
	primary, bus := node()
	replica, _ = node()
	ctx := t.Context()
	if err := primary.client.ClusterAddSlotsRange(ctx, 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(primary.addr)
	if err := replica.client.Do(ctx, "CLUSTER", "MEET", host, port, bus).Err(); err != nil {
		t.Fatal(err)
	}
	id := primary.client.ClusterMyID(ctx).Val()
	eventually(t, "the replica has joined", func() bool { return replica.client.ClusterReplicate(ctx, id).Err() == nil })
	eventually(t, "the replica is in step", func() bool {
		return strings.Contains(replica.client.Info(ctx, "replication").Val(), "master_link_status:up") &&
			strings.Contains(replica.client.ClusterInfo(ctx).Val(), "cluster_state:ok")
	})
	return primary, replica
}

// R5, failover: when a primary is lost and its replica takes over, nothing is decided meanwhile, and what the replica
// had got passes no more. What it had not got it cannot know: replication is asynchronous, and the README says so.
func TestReliabilityR05RedisFailover(t *testing.T) {
	need(t, "redis-server")
	primary, replica := startCluster(t)
	bed := testbed.Run(t, strings.ReplaceAll(storeSite, "REDIS", primary.url()+"?cluster=true&addr="+replica.addr))
	o := &once{traffic: trafficTo(t, bed), path: "/", passed: make(map[string]int), lives: 1}
	o.recovers()
	steadily(reloadRate, bound(200*time.Millisecond, 5*time.Second), o.one)
	if n, err := primary.client.Wait(t.Context(), 1, 10*time.Second).Result(); err != nil || n != 1 {
		t.Fatalf("%d replicas in step: %v", n, err)
	}
	primary.kill()
	o.suffers("lost (a real primary, killed)", bound(40, 1000))
	if err := replica.client.Do(t.Context(), "CLUSTER", "FAILOVER", "TAKEOVER").Err(); err != nil {
		t.Fatal(err)
	}
	back := o.recovers()
	copies, retries := o.all()
	o.judge()
	held(t, "failover of a cluster's primary: %d requests, 503 while it was lost, decided again %v after its replica took over; %s",
		o.sent(), back.Round(time.Millisecond), fmt.Sprintf("%d copies refused, %d retries passed", copies, retries))
}
