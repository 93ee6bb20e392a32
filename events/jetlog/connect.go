package jetlog

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
)

// DefaultPatience is how long a call waits for the store where its context sets no deadline.
const DefaultPatience = 5 * time.Second

// ConnectOptions are what a connection may need.
type ConnectOptions struct {
	Name      string                     // shown by the server
	CredsFile string                     // NATS credentials
	CAFile    string                     // PEM of the authority that signed the server's certificate
	CertFile  string                     // the client's certificate, with KeyFile
	KeyFile   string                     //
	InProcess nats.InProcessConnProvider // an embedded server instead of a URL
	Patience  time.Duration              // 0: DefaultPatience
	OnChange  func(connected bool)       // told of every loss and return of the connection; may be nil
	InboxName string                     // prefix of reply subjects where permissions demand one; empty for the default
}

// Connect connects to a server or cluster (a URL, or several with commas). The connection is for ever: it reconnects without end, and
// while it is away it buffers nothing, for what is buffered arrives after it was reported as failed.
func Connect(url string, o ConnectOptions) (*nats.Conn, error) {
	patience := o.Patience
	if patience == 0 {
		patience = DefaultPatience
	}
	options := []nats.Option{
		nats.Name(o.Name),
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1),
		nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectJitter(50*time.Millisecond, 200*time.Millisecond),
		nats.Timeout(patience),
		// A write that makes no progress for this long breaks the connection; a call cannot be held longer by a stalled link.
		nats.FlusherTimeout(patience),
		nats.ReconnectOnFlusherError(),
		nats.PingInterval(10 * time.Second),
		nats.MaxPingsOutstanding(2),
		// Authorities change while a fleet lives: a refusal is retried like an absence.
		nats.IgnoreAuthErrorAbort(),
		// Each batched read makes a queue of this length; the default is half a megabyte of memory.
		nats.SyncQueueLen(2 * readMessagesMax),
	}
	if o.OnChange != nil {
		options = append(options,
			nats.DisconnectErrHandler(func(*nats.Conn, error) { o.OnChange(false) }),
			nats.ReconnectHandler(func(*nats.Conn) { o.OnChange(true) }))
	}
	if o.InboxName != "" {
		options = append(options, nats.CustomInboxPrefix(o.InboxName))
	}
	if o.CredsFile != "" {
		options = append(options, nats.UserCredentials(o.CredsFile))
	}
	config, err := o.tls()
	if err != nil {
		return nil, err
	}
	if config != nil {
		options = append(options, nats.Secure(config))
	}
	if o.InProcess != nil {
		options = append(options, nats.InProcessServer(o.InProcess))
	}
	nc, err := nats.Connect(url, options...)
	if err != nil {
		return nil, fmt.Errorf("connect to the log's server: %w", err)
	}
	return nc, nil
}

// tls is nil where nothing asks for TLS; a URL of scheme tls:// asks for it by itself.
func (o ConnectOptions) tls() (*tls.Config, error) {
	if o.CAFile == "" && o.CertFile == "" && o.KeyFile == "" {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("certificate authority: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("certificate authority: no certificate in %s", o.CAFile)
		}
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, errors.New("a client certificate needs its key, and a key its certificate")
	}
	if o.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
