package interop

import (
	"context"
	"net"
	"time"
)

// drainPatience is how long open calls may take after the end was announced.
const drainPatience = 10 * time.Second

// Serve answers calls on a listener, which it closes, until ctx ends; then it lets open calls finish.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	g := s.GRPC()
	served := make(chan error, 1)
	go func() { served <- g.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	hurry := time.AfterFunc(drainPatience, g.Stop)
	defer hurry.Stop()
	g.GracefulStop()
	return <-served
}
