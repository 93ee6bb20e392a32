package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"parley"
)

// trustChanges is what is to be registered of authorities.
type trustChanges struct {
	anchor, intermediate, list, remove string
}

func (c *trustChanges) flags(fs *flag.FlagSet) {
	fs.StringVar(&c.anchor, "anchor", "", "")
	fs.StringVar(&c.intermediate, "intermediate", "", "")
	fs.StringVar(&c.list, "list", "", "")
	fs.StringVar(&c.remove, "remove", "", "")
}

// trust shows and changes the authorities of a deployment from outside of its nodes.
func trust(ctx context.Context, c config, stdout, stderr io.Writer) (err error) {
	o := c.options(slog.New(slog.NewTextHandler(stderr, nil)))
	o.Name = "operator"
	a, err := parley.OpenAuthorities(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close(context.WithoutCancel(ctx))) }()
	if err := c.trust.apply(parley.WithPrincipal(ctx, "operator"), a, stdout); err != nil {
		return err
	}
	held, err := a.Trust(ctx)
	if err != nil {
		return err
	}
	if held.Version == 0 {
		_, err = fmt.Fprintln(stdout, "nothing was ever registered: certificates are judged by their registered keys")
		return err
	}
	_, err = fmt.Fprintf(stdout, "version %d: %d anchors, %d intermediates, %d revocation lists\n",
		held.Version, len(held.Anchors()), len(held.Intermediates()), len(held.Points()))
	if err == nil {
		err = showAuthorities(stdout, held)
	}
	return err
}

func showAuthorities(w io.Writer, held parley.Trust) error {
	var out strings.Builder
	for _, der := range held.Anchors() {
		fmt.Fprintf(&out, "anchor       %x\n", sha256.Sum256(der))
	}
	for _, der := range held.Intermediates() {
		fmt.Fprintf(&out, "intermediate %x\n", sha256.Sum256(der))
	}
	for _, point := range held.Points() {
		fmt.Fprintf(&out, "list         %q\n", point)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// apply registers what was asked for; what is durable before something fails stays.
func (c *trustChanges) apply(ctx context.Context, a *parley.Authorities, stdout io.Writer) error {
	if err := withFile(c.anchor, func(b []byte) error { return a.RegisterTrustAnchor(ctx, b) }); err != nil {
		return err
	}
	err := withFile(c.intermediate, func(b []byte) error {
		points, err := a.RegisterIntermediate(ctx, b)
		if len(points) > 0 {
			fmt.Fprintf(stdout, "its revocation lists are not registered: %q\n", points)
		}
		return err
	})
	if err != nil {
		return err
	}
	if c.list != "" {
		i := strings.LastIndex(c.list, "=") // an URL may hold more of them
		if i <= 0 {
			return usagef("node trust --list http://crl.example/list=FILE", "--list: %q is not URL=FILE", c.list)
		}
		err := withFile(c.list[i+1:], func(b []byte) error {
			list, err := a.RegisterRevocationList(ctx, c.list[:i], b)
			if err == nil {
				_, err = fmt.Fprintf(stdout, "the list holds until %s; what it revokes has changed: %v\n", list.Expiration.UTC().Format("2006-01-02T15:04:05Z"), list.Dirty)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return withFile(c.remove, func(b []byte) error { return a.RemoveTrustAnchor(ctx, b) })
}

// fileMax bounds what is read: the largest revocation list, as PEM.
const fileMax = 16 << 20

// withFile reads a file, where one is named.
func withFile(name string, use func([]byte) error) error {
	if name == "" {
		return nil
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, fileMax+1))
	switch {
	case err != nil:
		return err
	case len(b) > fileMax:
		return fmt.Errorf("%s holds more than %d bytes", name, fileMax)
	}
	return use(b)
}
