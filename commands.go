package parley

import (
	"context"
	"fmt"

	"parley/conversation"
)

// meta is the metadata of a command of a client. What the id is bound to is the command's name and its arguments.
func (c *Client) meta(ctx context.Context, name string, arguments ...[]byte) conversation.CommandMeta {
	return c.node.actors.Meta(settingsOf(ctx).command, c.principal(ctx), append([][]byte{[]byte(name), {0}}, lengths(arguments)...)...)
}

// unnamed is meta of a command that nobody will recognize.
func (c *Client) unnamed(ctx context.Context) conversation.CommandMeta {
	return conversation.CommandMeta{Principal: c.principal(ctx), IssuedMs: c.node.actors.Now()}
}

// principal is on whose behalf commands are made.
func (c *Client) principal(ctx context.Context) string {
	if named := settingsOf(ctx).principal; named != "" {
		return named
	}
	return c.id.Text()
}

// lengths puts each argument's length before it, so that no two lists of arguments look alike.
func lengths(arguments [][]byte) (out [][]byte) {
	for _, a := range arguments {
		out = append(out, fmt.Appendf(nil, "%d:", len(a)), a)
	}
	return out
}
