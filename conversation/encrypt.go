package conversation

import (
	"parley/mlsengine"
)

// encrypt makes an application message. Its generation comes out of a block
// that was reserved before; only the first message of a block is an event.
func (w *work) encrypt(in Encrypt) error {
	if err := w.speaker(in); err != nil {
		return err
	}
	block := w.s.Live.block
	if block == nil || block.Remaining() == 0 {
		fresh, err := w.reserve(mlsengine.ContentTypeApplication, w.s.Config.blockSize())
		if err != nil {
			return err
		}
		w.s.Live.block = fresh
		block = fresh
	} else if !w.env.LeaseValid {
		return refuse(LeaseLost, Retry, "this node may no longer hold the conversation")
	}
	if next, limit := uint32(block.Next()), w.s.Config.MaximumForwardDistance; w.tracksOrder() && next-min(next, w.s.OwnOrdered) > limit {
		return refuse(UpdateRequired, Retry, "generation %d is more than %d ahead of the group's order", next, limit)
	}
	message, generation, err := w.s.Private.Group.SealApplication(block, mlsengine.Plaintext{
		AAD: in.AAD, Data: in.Plaintext, Padding: int(w.s.Config.PaddingBlock),
	}, w.env.engine())
	if err != nil {
		return engineFault(InvalidMessage, err)
	}
	w.reply.Ciphertext, w.reply.Generation = message, uint32(generation)
	w.reply.Completed = append(w.reply.Completed, Completion{Command: refOf(in), Epoch: w.s.Epoch()})
	return nil
}

// tracksOrder reports whether own messages come back to us in the group's order.
func (w *work) tracksOrder() bool { return w.s.Config.Transport == TransportBuiltIn }

// speaker checks that we may speak: not while a commit of ours or anybody's
// proposal is pending, for both would make the message's epoch a thing of the
// past.
func (w *work) speaker(in Encrypt) error {
	if err := w.committer(); err != nil {
		return err
	}
	if n := len(w.s.Pending); n > 0 {
		return refuse(PendingProposals, Retry, "%d proposals of epoch %d are pending", n, w.s.Epoch())
	}
	if n := len(in.Plaintext) + len(in.AAD); n > PlaintextMax {
		return refuse(MessageTooLarge, GiveUp, "%d bytes are more than %d", n, PlaintextMax)
	}
	return nil
}
