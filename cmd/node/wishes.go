package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"

	"parley"
	"parley/internal/ids"
	"parley/mlsengine"
)

// wishFlags say what the delivery service is to want of a group, or no more.
type wishFlags struct {
	group      string
	reason     string
	remove     string // a client
	add        string // the file of its key package
	psk        string // the id of a pre-shared key
	reinit     string // the group that follows
	suite      uint   // and its cipher suite
	extensions extensionFlags
	wish       string // the id of a wish
}

// extensionFlags are extensions to be set, and types to be dropped.
type extensionFlags struct {
	set  []string // TYPE=FILE
	drop []string // TYPE
}

func (f *wishFlags) flags(fs *flag.FlagSet, verb string) {
	fs.StringVar(&f.group, "group", "", "")
	switch verb {
	case "propose":
		fs.StringVar(&f.reason, "reason", "", "")
		fs.StringVar(&f.remove, "remove", "", "")
		fs.StringVar(&f.add, "add", "", "")
		fs.StringVar(&f.psk, "psk", "", "")
		fs.StringVar(&f.reinit, "reinit", "", "")
		fs.UintVar(&f.suite, "suite", 1, "")
		fs.Func("extension", "", func(s string) error { f.extensions.set = append(f.extensions.set, s); return nil })
		fs.Func("without", "", func(s string) error { f.extensions.drop = append(f.extensions.drop, s); return nil })
	case "withdraw":
		fs.StringVar(&f.wish, "wish", "", "")
	}
}

// want reads what is to be proposed.
func (f *wishFlags) want() (w parley.Want, err error) {
	const try = "node propose --data DIR --group ID --remove CLIENT --reason TEXT"
	if f.remove != "" {
		if w.Remove, err = ids.ParseClientID(f.remove); err != nil {
			return w, usagef(try, "--remove: %v", err)
		}
	}
	if err := withFile(f.add, func(b []byte) error { w.Add = b; return nil }); err != nil {
		return w, err
	}
	w.PSK = []byte(f.psk)
	if f.reinit != "" {
		successor, err := ids.ParseConversationID(f.reinit)
		if err != nil || f.suite > 0xffff {
			return w, usagef("node propose --data DIR --group ID --reinit NEW --suite 1", "--reinit: %q in suite %d is no group", f.reinit, f.suite)
		}
		w.Reinit = &mlsengine.ReInit{GroupID: []byte(successor), Version: mlsengine.VersionMLS10, CipherSuite: mlsengine.CipherSuite(f.suite)}
	}
	for _, text := range f.extensions.set {
		kind, file, ok := strings.Cut(text, "=")
		t, err := strconv.ParseUint(kind, 0, 16)
		if !ok || err != nil {
			return w, usagef("node propose --data DIR --group ID --extension 5=FILE", "--extension: %q is not TYPE=FILE", text)
		}
		extension := mlsengine.Extension{Type: mlsengine.ExtensionType(t)}
		if err := withFile(file, func(b []byte) error { extension.Data = b; return nil }); err != nil {
			return w, err
		}
		w.Extensions = append(w.Extensions, extension)
	}
	for _, text := range f.extensions.drop {
		t, err := strconv.ParseUint(text, 0, 16)
		if err != nil {
			return w, usagef("node propose --data DIR --group ID --without 0x1234", "--without: %q is not a type", text)
		}
		w.Without = append(w.Without, mlsengine.ExtensionType(t))
	}
	return w, nil
}

// wishes lists, makes and takes back what the delivery service wants of a group, from outside of the nodes.
func wishes(ctx context.Context, verb string, c config, stdout io.Writer) (err error) {
	group, err := ids.ParseConversationID(c.wish.group)
	if err != nil {
		return usagef("node "+verb+" --data DIR --group ID", "--group: %v", err)
	}
	var want parley.Want
	var taken parley.WishID
	switch verb {
	case "propose":
		want, err = c.wish.want()
	case "withdraw":
		if taken, err = parley.ParseWishID(c.wish.wish); err != nil {
			err = usagef("node wishes --data DIR --group ID", "--wish: %v", err)
		}
	}
	if err != nil {
		return err
	}
	o := c.options(slog.New(slog.DiscardHandler)) // what a node says that ends at once is of no use
	o.Name = "operator"
	desk, err := parley.OpenServiceDesk(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, desk.Close(context.WithoutCancel(ctx))) }()
	switch verb {
	case "propose":
		number, err := desk.Propose(ctx, group, want, c.wish.reason)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(stdout, "wish %s is proposed as entry %d\n", want.ID(), number)
		return err
	case "withdraw":
		return desk.WithdrawProposal(ctx, group, taken)
	}
	list, err := desk.StandingWishes(ctx, group)
	if err != nil {
		return err
	}
	return showWishes(stdout, list)
}

func showWishes(w io.Writer, list []parley.StandingWish) error {
	var out strings.Builder
	if len(list) == 0 {
		out.WriteString("the service wants nothing of this group\n")
	}
	for _, s := range list {
		state := fmt.Sprintf("waits for a commit of epoch %d as entry %d", s.Epoch, s.Number)
		if !s.Pending {
			state = "is proposed when the group's order grows"
		}
		fmt.Fprintf(&out, "%s  %s, asked for by %s at %s%s; proposed in %d epochs, %s\n",
			s.ID, wording(s), ids.ClientID(s.Principal), s.Since.UTC().Format("2006-01-02T15:04:05Z"), because(s.Reason), s.Tries, state)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return fmt.Sprintf(" (%q)", reason)
}

func wording(s parley.StandingWish) string {
	switch s.Type {
	case mlsengine.ProposalTypeRemove:
		return fmt.Sprintf("remove %s", s.Client)
	case mlsengine.ProposalTypeAdd:
		return fmt.Sprintf("add %s", s.Client)
	case mlsengine.ProposalTypePSK:
		return fmt.Sprintf("take in pre-shared key %q", s.PSK)
	case mlsengine.ProposalTypeReInit:
		return fmt.Sprintf("reinitialize as %s in suite %d", s.Successor, s.CipherSuite)
	}
	return fmt.Sprintf("set extensions %v and drop %v", s.With, s.Without)
}
