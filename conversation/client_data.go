package conversation

import (
	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/secret"
)

// DataMax bounds what an application keeps with a client, in bytes.
const DataMax = 64 << 10

// SetData keeps opaque data of the application with the client, in place of
// what it kept before; nothing takes it away.
type SetData struct {
	CommandMeta
	Data secret.Bytes
}

func (SetData) isClientInput() {}

// Name is the command's name in causes and outcomes.
func (SetData) Name() string { return "set_data" }

// dataLabel is the one label of ClassData: the key of what was kept before dies
// with the record that replaces it.
const dataLabel = "application"

func (w *clientWork) setData(in SetData) error {
	n := in.Data.Len()
	if n > DataMax {
		return refuse(MessageTooLarge, GiveUp, "%d bytes, at most %d are kept", n, DataMax)
	}
	if err := w.create(); err != nil {
		return err
	}
	e := events.Event{Body: &v1.ClientDataSet{Length: uint32(n)}}
	if n > 0 {
		e.Secrets = []events.Secret{{Class: events.ClassData, Label: dataLabel, Plain: in.Data}}
	} else {
		e.Forget = []string{events.Forget(events.ClassData, dataLabel)}
	}
	if n > 0 || w.s.DataLength > 0 {
		if err := w.emit(e); err != nil {
			return err
		}
	}
	return w.done(in, clientOutcome{})
}

// Data is what the application keeps with the client; zero: nothing. Where the
// keys are lost the client is.
func (s ClientState) Data() (secret.Bytes, *CommandError) {
	if s.DataLength > 0 && s.secrets.data.IsZero() {
		if loss := s.Loss(); loss != nil {
			return secret.Bytes{}, loss
		}
		return secret.Bytes{}, refuse(ClientSecretsLost, GiveUp, "the key of the data is not here")
	}
	return s.secrets.data, nil
}

func (s *ClientState) foldData(body *v1.ClientDataSet, e events.Event) {
	s.DataLength = body.GetLength()
	s.secrets.data, _ = e.Secret(events.ClassData)
}
