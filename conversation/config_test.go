package conversation

import (
	"testing"

	"parley/mlsengine/suite"
)

// TestDefaultsOfDeployedClients: who changes one of these no longer behaves in a group as deployed clients do.
func TestDefaultsOfDeployedClients(t *testing.T) {
	c := DefaultConfig()
	if c.CipherSuite != suite.X25519_AES128GCM_SHA256_Ed25519 || c.WirePolicy != WirePlaintext || len(c.ExternalSenders) != 0 || c.KeyRotationSpanMs != 0 {
		t.Errorf("suite %d, wire policy %d, %d external senders, rotation after %d ms", c.CipherSuite, c.WirePolicy, len(c.ExternalSenders), c.KeyRotationSpanMs)
	}
	if c.OutOfOrderTolerance != 2 || c.MaximumForwardDistance != 1000 || c.PastEpochs != 3 || c.PaddingBlock != 128 {
		t.Errorf("tolerance %d, distance %d, past epochs %d, padding %d", c.OutOfOrderTolerance, c.MaximumForwardDistance, c.PastEpochs, c.PaddingBlock)
	}
}
