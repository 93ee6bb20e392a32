package scripts

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"parley/internal/interop/mlsclient"
)

const (
	// callPatience is how long one call may take.
	callPatience = 120 * time.Second
	// messageMax bounds an answer, in bytes.
	messageMax = 32 << 20
)

// Client is a connection to one implementation.
type Client struct {
	Address string
	Name    string
	Suites  []uint32
	rpc     mlsclient.MLSClientClient
	conn    *grpc.ClientConn
}

// Dial connects to a server and asks who it is.
func Dial(ctx context.Context, address string) (*Client, error) {
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(messageMax), grpc.MaxCallSendMsgSize(messageMax)))
	if err != nil {
		return nil, fmt.Errorf("client %s: %w", address, err)
	}
	c := &Client{Address: address, conn: conn, rpc: mlsclient.NewMLSClientClient(conn)}
	if err := c.introduce(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("client %s: %w", address, err)
	}
	return c, nil
}

func (c *Client) introduce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	name, err := c.rpc.Name(ctx, new(mlsclient.NameRequest))
	if err != nil {
		return err
	}
	suites, err := c.rpc.SupportedCiphersuites(ctx, new(mlsclient.SupportedCiphersuitesRequest))
	if err != nil {
		return err
	}
	c.Name, c.Suites = name.GetName(), suites.GetCiphersuites()
	return nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }
