package actors

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// runtime wraps the actor library: it is the only thing that knows which parts of it are safe.
type runtime struct {
	system  *actor.ActorSystem
	workers workers
	logger  *slog.Logger
	panics  atomic.Uint64
}

func newRuntime(logger *slog.Logger) *runtime {
	r := &runtime{logger: logger}
	r.system = actor.NewActorSystem(
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
			return slog.New(quietHandler{logger.Handler()})
		}),
		// The throttle starts a goroutine for this long whenever it counts; ours never reach it, stray system messages may.
		actor.WithDeadLetterThrottleInterval(time.Millisecond),
		actor.WithDeadLetterRequestLogging(false),
	)
	r.system.EventStream.Subscribe(func(event any) {
		if dead, ok := event.(*actor.DeadLetterEvent); ok {
			if m, ok := dead.Message.(mail); ok {
				m.refuse(errBounced)
			}
		}
	})
	return r
}

// shutdown ends what is left when every actor is gone.
func (r *runtime) shutdown() {
	r.system.Shutdown()
	r.workers.end()
}

// leaf returns the properties of an actor that has no children: guarded against panics, bouncing what it leaves unread,
// and stopped, never restarted, when something escapes the guard.
func (r *runtime) leaf(produce func() actor.Actor) *actor.Props {
	return actor.PropsFromProducer(produce,
		actor.WithDispatcher(&r.workers),
		actor.WithMailbox(actor.UnboundedLockfree(&bouncer{})),
		actor.WithReceiverMiddleware(r.guard))
}

// stopOnFailure is the supervision of everything: a failed actor stops, and its successor starts from the log.
func stopOnFailure() actor.SupervisorStrategy {
	return actor.NewOneForOneStrategy(0, 0, func(any) actor.Directive { return actor.StopDirective })
}

// abandoner is an actor that holds callers outside its mailbox and can answer them when it panics.
type abandoner interface{ abandon(error) }

// guard answers the caller of a panicking Receive, counts, and stops the actor. It does not carry on: memory may be
// half changed, the log is not.
func (r *runtime) guard(next actor.ReceiverFunc) actor.ReceiverFunc {
	return func(c actor.ReceiverContext, envelope *actor.MessageEnvelope) {
		defer func() {
			reason := recover()
			if reason == nil {
				return
			}
			r.panics.Add(1)
			// The reason may quote what a message held; the stack does not.
			r.logger.Error("actor panicked", "actor", c.Self().GetId(), "stack", string(debug.Stack()))
			if m, ok := envelope.Message.(mail); ok {
				m.refuse(ErrPanicked)
			}
			if a, ok := c.Actor().(abandoner); ok {
				a.abandon(ErrPanicked)
			}
			r.system.Root.Stop(c.Self())
		}()
		next(c, envelope)
	}
}

// bouncer refuses the mail that a stopped actor leaves in its mailbox, which the library would drop in silence.
type bouncer struct{ stopped atomic.Bool }

func (b *bouncer) MailboxStarted()   {}
func (b *bouncer) MessagePosted(any) {}
func (b *bouncer) MailboxEmpty()     {}
func (b *bouncer) MessageReceived(message any) {
	if _, ok := message.(*actor.Stop); ok {
		b.stopped.Store(true) // a leaf has no children to wait for: from here on nothing reaches Receive
		return
	}
	if !b.stopped.Load() {
		return
	}
	_, body, _ := actor.UnwrapEnvelope(message)
	if m, ok := body.(mail); ok {
		m.refuse(errBounced)
	}
}

// quietHandler passes the library's warnings and errors on, without the attribute that holds a whole message.
type quietHandler struct{ slog.Handler }

func (h quietHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && h.Handler.Enabled(ctx, level)
}

func (h quietHandler) Handle(ctx context.Context, r slog.Record) error {
	kept := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != "message" && a.Key != "reason" && a.Key != "exception" {
			kept.AddAttrs(a)
		}
		return true
	})
	return h.Handler.Handle(ctx, kept)
}

func (h quietHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quietHandler{h.Handler.WithAttrs(attrs)}
}
func (h quietHandler) WithGroup(name string) slog.Handler {
	return quietHandler{h.Handler.WithGroup(name)}
}
