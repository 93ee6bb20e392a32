package jetlog_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"parley/events"
	"parley/events/jetlog"
	"parley/events/logtest"
)

// stranger is a server as somebody else may run it: with its own idea of what to check at start, and with TLS where given.
func stranger(t *testing.T, dir string, config *tls.Config) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		ServerName: "stranger", JetStream: true, StoreDir: dir, JetStreamMaxStore: 8 << 30, Host: "127.0.0.1", Port: server.RANDOM_PORT,
		NoSigs: true, NoLog: true, TLSConfig: config, TLS: config != nil, TLSVerify: config != nil, TLSTimeout: 5,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server did not start")
	}
	return s
}

func stop(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// TestAServerThatChecksNothingIsNotBelieved flips a bit in the newest record of a log after a clean stop. The server trusts its index,
// says that there is no such message, and would take an append to an empty log; whoever reads the log is told of the damage.
func TestAServerThatChecksNothingIsNotBelieved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := stranger(t, dir, nil)
	store := open(t, connect(t, s.ClientURL(), jetlog.ConnectOptions{}), jetlog.Config{})
	id, other := events.ConversationLog("alice", "room"), events.ConversationLog("alice", "hall")
	head := mustAppend(t, store, id, 0, "one", "two")
	mustAppend(t, store, id, head, "three: the newest record of its log")
	mustAppend(t, store, other, 0, "elsewhere")
	stop(s)
	block := filepath.Join(dir, "jetstream", "$G", "streams", "parley_LOG", "msgs", "1.blk")
	data, starts := records(t, block)
	data[starts[3]-20] ^= 1 // inside the third message
	if err := os.WriteFile(block, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s = stranger(t, dir, nil)
	defer stop(s)
	store = open(t, connect(t, s.ClientURL(), jetlog.ConnectOptions{}), jetlog.Config{})
	ctx := testContext(t)
	if m, err := store.Last(ctx, id); !errors.Is(err, events.ErrDamaged) {
		t.Errorf("last: %q, %v; want ErrDamaged", m.Data, err)
	}
	if got, err := logtest.Collect(ctx, store.Scan, id, 0); !errors.Is(err, events.ErrDamaged) {
		t.Errorf("scan: %d messages, %v; want ErrDamaged", len(got), err)
	}
	if got, err := logtest.Collect(ctx, store.Read, id, 0); !errors.Is(err, events.ErrDamaged) {
		t.Errorf("read: %d messages, %v; want ErrDamaged", len(got), err)
	}
	if got, err := logtest.Collect(ctx, store.Read, other, 0); err != nil || len(got) != 1 {
		t.Errorf("another log: %d messages, %v", len(got), err)
	}
}

// authority issues certificates for a test.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	dir         string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.certificate, a.key = a.issue(t, "ca", true)
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// issue makes a certificate and its key as NAME.crt and NAME.key.
func (a *authority) issue(t *testing.T, name string, isCA bool) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: isCA, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := a.certificate, a.key
	if isCA {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{
		a.file(name + ".crt"): {Type: "CERTIFICATE", Bytes: der}, a.file(name + ".key"): {Type: "PRIVATE KEY", Bytes: raw},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, key
}

func TestConnectProvesBothSides(t *testing.T) {
	t.Parallel()
	ca, strange := newAuthority(t), newAuthority(t)
	ca.issue(t, "server", false)
	ca.issue(t, "client", false)
	pair, err := tls.LoadX509KeyPair(ca.file("server.crt"), ca.file("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.certificate)
	s := stranger(t, t.TempDir(), &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	})
	defer stop(s)
	good := jetlog.ConnectOptions{CAFile: ca.file("ca.crt"), CertFile: ca.file("client.crt"), KeyFile: ca.file("client.key")}
	open(t, connect(t, s.ClientURL(), good), jetlog.Config{})
	for name, spoil := range map[string]func(*jetlog.ConnectOptions){
		"a strange authority":       func(o *jetlog.ConnectOptions) { o.CAFile = strange.file("ca.crt") },
		"no client certificate":     func(o *jetlog.ConnectOptions) { o.CertFile, o.KeyFile = "", "" },
		"a certificate without key": func(o *jetlog.ConnectOptions) { o.KeyFile = "" },
		"no such authority":         func(o *jetlog.ConnectOptions) { o.CAFile = ca.file("none.crt") },
		"an authority that is none": func(o *jetlog.ConnectOptions) { o.CAFile = ca.file("client.key") },
		"another key":               func(o *jetlog.ConnectOptions) { o.KeyFile = ca.file("server.key") },
		"no such credentials":       func(o *jetlog.ConnectOptions) { o.CredsFile = ca.file("none.creds") },
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			spoil(&o)
			if nc, err := jetlog.Connect(s.ClientURL(), o); err == nil {
				nc.Close()
				t.Error("connected")
			}
		})
	}
}
