package scripts

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"parley/internal/interop/mlsclient"
)

// trace is what a script did, one call a line. Messages go by names: those of the answers in which they came first.
type trace struct {
	lines []string
	names map[string]string
	count map[string]int
}

func newTrace() *trace {
	return &trace{names: make(map[string]string), count: make(map[string]int)}
}

// namedMin is from which length on bytes are a message rather than a word.
const namedMin = 24

// method is one call of the interface.
type method[Q, R proto.Message] func(mlsclient.MLSClientClient, context.Context, Q, ...grpc.CallOption) (R, error)

// call lets an actor's client answer a request, and writes it down. Most calls are named like their request.
func call[Q, R proto.Message](ctx context.Context, a *actor, m method[Q, R], request Q) (R, error) {
	return callNamed(ctx, a, strings.TrimSuffix(string(request.ProtoReflect().Descriptor().Name()), "Request"), m, request)
}

// callNamed is call where several calls share a request.
func callNamed[Q, R proto.Message](ctx context.Context, a *actor, name string, m method[Q, R], request Q) (R, error) {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	t := a.world.trace
	line := fmt.Sprintf("%s: %s%s", a, name, t.fields(request))
	response, err := m(a.client.rpc, ctx, request)
	if err != nil {
		t.lines = append(t.lines, line+" -> "+err.Error())
		return response, fmt.Errorf("%s: %s: %w", a, name, err)
	}
	t.nameMessages(response)
	t.lines = append(t.lines, line+" ->"+t.fields(response))
	return response, nil
}

// note writes a remark down.
func (t *trace) note(format string, args ...any) {
	t.lines = append(t.lines, "-- "+fmt.Sprintf(format, args...))
}

// nameMessages gives names to the messages of an answer.
func (t *trace) nameMessages(response proto.Message) {
	r := response.ProtoReflect()
	fields := r.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if field.Kind() != protoreflect.BytesKind || field.IsList() {
			continue
		}
		b := string(r.Get(field).Bytes())
		if _, known := t.names[b]; known || len(b) < namedMin {
			continue
		}
		kind := string(field.Name())
		t.count[kind]++
		t.names[b] = fmt.Sprintf("%s#%d", kind, t.count[kind])
	}
}

// fields prints what is set in a message, in the order of the schema.
func (t *trace) fields(m proto.Message) string {
	var out strings.Builder
	r := m.ProtoReflect()
	fields := r.Descriptor().Fields()
	for i := range fields.Len() {
		if field := fields.Get(i); r.Has(field) {
			fmt.Fprintf(&out, " %s=%s", field.Name(), t.value(field, r.Get(field)))
		}
	}
	return out.String()
}

func (t *trace) value(field protoreflect.FieldDescriptor, v protoreflect.Value) string {
	if !field.IsList() {
		return t.scalar(field, v)
	}
	var items []string
	for i := range v.List().Len() {
		items = append(items, t.scalar(field, v.List().Get(i)))
	}
	return "[" + strings.Join(items, " ") + "]"
}

func (t *trace) scalar(field protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch field.Kind() {
	case protoreflect.MessageKind:
		return "{" + strings.TrimSpace(t.fields(v.Message().Interface())) + "}"
	case protoreflect.BytesKind:
		return t.bytes(v.Bytes())
	default:
		return v.String()
	}
}

// bytes prints a message by its name, a word as itself, and the rest by its length.
func (t *trace) bytes(b []byte) string {
	if name, known := t.names[string(b)]; known {
		return name
	}
	for _, c := range b {
		if c < ' ' || c > '~' {
			if len(b) < namedMin {
				return fmt.Sprintf("%x", b)
			}
			return fmt.Sprintf("(%d bytes)", len(b))
		}
	}
	return string(b)
}
