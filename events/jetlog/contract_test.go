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
	logtest.Run(t, reopen(process(t).URL(), jetlog.ConnectOptions{}, jetlog.Config{}))
}

func TestContractOnACluster(t *testing.T) {
	logtest.Run(t, reopen(cluster(t).URL(), jetlog.ConnectOptions{}, jetlog.Config{Replicas: 3}))
}
