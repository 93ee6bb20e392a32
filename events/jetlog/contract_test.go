package jetlog_test

import (
	"testing"

	"parley/events/jetlog"
	"parley/events/logtest"
)

func TestContractOnAnEmbeddedServer(t *testing.T) {
	logtest.Run(t, reopen("", embedded(t), jetlog.Config{}))
}

func TestContractOverPartitions(t *testing.T) {
	logtest.Run(t, reopen("", embedded(t), jetlog.Config{Namespace: "many", Partitions: 3}))
}

func TestContractOnASeparateServer(t *testing.T) {
	t.Parallel()
	logtest.Run(t, reopen(shared.server(t).URL(), jetlog.ConnectOptions{}, jetlog.Config{Namespace: namespace(t)}))
}

func TestContractOnACluster(t *testing.T) {
	t.Parallel()
	logtest.Run(t, reopen(shared.three(t).URL(), jetlog.ConnectOptions{}, jetlog.Config{Namespace: namespace(t), Replicas: 3}))
}
