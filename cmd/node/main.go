// Command node runs a node of a fleet: the conversations of its clients, with the log in an embedded NATS server or in one of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"parley/delivery"
	"parley/events"
)

// Exit codes: the same as those of replay.
const (
	exitGood        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is the whole command: arguments in, exit code out.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := dispatch(ctx, args, stdin, stdout, stderr)
	if err == nil {
		return exitGood
	}
	fmt.Fprintln(stderr, "node:", err)
	if hint := nextCommand(err); hint != "" {
		fmt.Fprintln(stderr, "try:", hint)
	}
	return exitCode(err)
}

func dispatch(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	verb := "help"
	if len(args) > 0 {
		verb, args = args[0], args[1:]
	}
	switch verb {
	case "help", "-h", "-help", "--help":
		_, err := io.WriteString(stdout, usage)
		return err
	case childVerb:
		return serveDemo(ctx, args, stdin, stdout)
	case "run", "shred", "trust", "propose", "withdraw", "wishes", "demo":
	default:
		return usagef("node help", "%q is not a verb", verb)
	}
	c, err := parseConfig(verb, args, os.Getenv)
	if errors.Is(err, flag.ErrHelp) {
		_, err := io.WriteString(stdout, usage)
		return err
	}
	if err != nil {
		return err
	}
	switch verb {
	case "demo":
		return demo(ctx, c, stdout, stderr)
	case "shred":
		return shred(ctx, c, stdout, stderr)
	case "trust":
		return trust(ctx, c, stdout, stderr)
	case "propose", "withdraw", "wishes":
		return wishes(ctx, verb, c, stdout)
	}
	return serve(ctx, c, stdout, stderr)
}

// isWish tells the verbs of what the delivery service wants of a group. With --nats they need no key: the nodes do the work.
func isWish(verb string) bool { return verb == "propose" || verb == "withdraw" || verb == "wishes" }

func exitCode(err error) int {
	var usage *usageError
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, events.ErrUnavailable):
		return exitUnreachable
	}
	return exitFailed
}

// nextCommand is what a person would type after this error.
func nextCommand(err error) string {
	var usage *usageError
	switch {
	case errors.As(err, &usage):
		return usage.try
	case errors.Is(err, events.ErrKeyMissing):
		return "node run with --shred-dir or --kek-file naming the keys this log was made with; they cannot be made again"
	case errors.Is(err, events.ErrNoErasure):
		return "node run --shred-dir DIR on an empty log: only versioned keys can be destroyed"
	case errors.Is(err, delivery.Unavailable):
		return "node run with the same --nats and --namespace: a node that serves the group does the work"
	case exitCode(err) == exitUnreachable:
		return "make nats, and node run with its URL"
	}
	return "replay verify with the same --data or --nats, which says whether the history is whole"
}

const usage = `node runs a node: the conversations of its clients, and the log they live in.

usage: node run [flags]     serve until SIGTERM, then drain and stop; on SIGHUP replace the shred key at once
       node shred [flags]   replace the shred key of a fleet (--nats), or of a stopped node (--data), and destroy the old ones
       node trust [flags]   show which authorities a fleet (--nats), or a stopped node (--data), trusts to certify clients, and change that
       node propose, withdraw, wishes [flags]
                            have the delivery service propose something to a group, take that back, list what is not done; asked of a fleet
                            (--nats), or of a stopped node (--data)
       node demo [flags]    three bots on two nodes, two of which die on the way; under a minute

store (one of; environment in brackets)
  --data DIR          an embedded NATS server with its files in DIR [PARLEY_DATA]; every record is on disk before it counts
  --nats URL          a server or cluster [PARLEY_NATS]; --nats-creds, --nats-ca, --nats-cert, --nats-key FILE [PARLEY_NATS_CREDS, ...]
  --replicas N        of every stream, in a cluster: 3 or 5 [PARLEY_REPLICAS]
  --namespace NAME    of the deployment [PARLEY_NAMESPACE]
  --retention T       how long a group's order keeps what was sent: 30d [PARLEY_RETENTION]; a member that was away for longer is added again

keys that wrap the key rings; they are made with mode 0600 while the log is empty, and never again
  --shred-dir DIR     versioned keys, so that old secrets die for certain [PARLEY_SHRED_DIR]; default: DIR.keys beside --data DIR
                      the nodes of a fleet share one directory
  --shred-interval T  how often they are replaced and the old ones destroyed: 24h [PARLEY_SHRED_INTERVAL]
  --kek-file FILE     one static key instead: no certain erasure [PARLEY_KEK_FILE, or the key itself in PARLEY_KEK]

trust; certificates and lists are PEM or DER, what is said of each is done in this order
  --anchor FILE       trust an authority
  --intermediate FILE know an intermediate certificate, which an anchor must vouch for
  --list URL=FILE     take in the revocation list of a distribution point
  --remove FILE       trust an authority no more

propose, withdraw, wishes
  --group ID          of the group, which must list the service among its external senders
  --reason TEXT       for the log; one of the following says what is to be proposed, in every epoch until it is done
  --remove CLIENT     a member is to go
  --add FILE          somebody is to come: a key package
  --psk ID            an external pre-shared key is to enter the group's keys; a member that has not got it cannot follow
  --extension TYPE=FILE, --without TYPE
                      extensions that the group's context is to have, and types that are to go; both may be repeated
  --reinit ID         the group is to end in favour of another one, in cipher suite --suite N: 1
  --wish ID           withdraw: what is wanted no more, as wishes lists it

demo
  --data DIR --keep   in a directory that is made if need be, and left as node run leaves it; default: a temporary one
  --json              one object a line

exit codes: 0 good, 1 failed, 2 usage, 3 store unreachable
`
