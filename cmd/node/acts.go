package main

import (
	"context"
	"fmt"
	"strings"

	"parley/events"
)

// stepSend is where node A dies, once before it and once behind it: both lie between CommitStaged, which is durable, and the moment at
// which the node acts on the delivery service's answer.
const stepSend = "actors.send-bundle"

// curtain starts the nodes and brings the bots in.
func (p *play) curtain(ctx context.Context) error {
	if err := p.tell(step{Step: "log", Text: "this process hosts the log on " + p.server.URL() + ", every record synced to disk"}); err != nil {
		return err
	}
	if err := p.raise(ctx, "A", sharesOfA()); err != nil {
		return err
	}
	if err := p.raise(ctx, "B", sharesOfB()); err != nil {
		return err
	}
	if err := p.tell(step{Step: "nodes", Text: fmt.Sprintf("node A is process %d, node B is process %d; each serves half of the shares", p.nodes["A"].cmd.Process.Pid, p.nodes["B"].cmd.Process.Pid)}); err != nil {
		return err
	}
	for _, name := range []string{"ann", "bob", "cem"} {
		if err := p.enter(ctx, name, "A", "B"); err != nil {
			return err
		}
		if err := p.tell(step{Step: "bot", Node: p.homes[name], Bot: name, Text: name + " has a credential and has published key packages"}); err != nil {
			return err
		}
	}
	if p.homes["ann"] != "A" || p.homes["bob"] != "B" {
		return fmt.Errorf("ann is on %s and bob on %s: the placement is not the one this demo was written for", p.homes["ann"], p.homes["bob"])
	}
	return nil
}

// gathering: ann creates the conversation and adds bob, and the two talk across nodes.
func (p *play) gathering(ctx context.Context) error {
	if _, err := p.ask(ctx, order{Op: "create", Bot: "ann"}); err != nil {
		return err
	}
	if err := p.tell(step{Step: "create", Node: "A", Bot: "ann", Text: "ann creates the conversation " + conversationName()}); err != nil {
		return err
	}
	if _, err := p.ask(ctx, order{Op: "add", Bot: "ann", Clients: []string{"bob"}}); err != nil {
		return err
	}
	epoch, err := p.agree(ctx, "ann", "bob")
	if err != nil {
		return err
	}
	if err := p.tell(step{Step: "add", Node: "A", Bot: "ann", Epoch: epoch, Text: fmt.Sprintf("ann adds bob: epoch %d", epoch)}); err != nil {
		return err
	}
	if err := p.say(ctx, "ann", "welcome, bob", "bob"); err != nil {
		return err
	}
	return p.say(ctx, "bob", "glad to be here", "ann")
}

// firstDeath: node A dies with a commit staged that nobody has seen. Node B finds it in the log and sends it.
func (p *play) firstDeath(ctx context.Context) error {
	command := order{Op: "add", Bot: "ann", Clients: []string{"cem"}, Command: "demo-add-cem"}
	if err := p.dieAt(ctx, command, false); err != nil {
		return err
	}
	text := "node A is killed (SIGKILL): ann's commit to add cem is in her log, and was not sent"
	if err := p.tell(step{Step: "kill", Node: "A", Bot: "ann", Text: text}); err != nil {
		return err
	}
	return p.takeOver(ctx, command, "B has replayed ann's log, found the staged commit and sent it", "ann", "bob", "cem")
}

// renewal: A comes back; a proposal by one bot is committed by another, and a third renews its keys.
func (p *play) renewal(ctx context.Context) error {
	if err := p.comeBack(ctx); err != nil {
		return err
	}
	if _, err := p.ask(ctx, order{Op: "update", Bot: "bob"}); err != nil {
		return err
	}
	epoch, err := p.agree(ctx, "ann", "bob", "cem")
	if err != nil {
		return err
	}
	if err := p.tell(step{Step: "update", Node: p.homes["bob"], Bot: "bob", Epoch: epoch, Text: fmt.Sprintf("bob renews his keys: epoch %d", epoch)}); err != nil {
		return err
	}
	if _, err := p.ask(ctx, order{Op: "propose-update", Bot: "ann"}); err != nil {
		return err
	}
	if err := p.pending(ctx, "cem", 1); err != nil {
		return err
	}
	if err := p.tell(step{Step: "propose", Node: "A", Bot: "ann", Epoch: epoch, Text: "ann proposes new keys of her own"}); err != nil {
		return err
	}
	if _, err := p.ask(ctx, order{Op: "commit", Bot: "cem"}); err != nil {
		return err
	}
	if epoch, err = p.agree(ctx, "ann", "bob", "cem"); err != nil {
		return err
	}
	if err := p.tell(step{Step: "commit", Node: p.homes["cem"], Bot: "cem", Epoch: epoch, Text: fmt.Sprintf("cem commits what was proposed: epoch %d", epoch)}); err != nil {
		return err
	}
	return p.say(ctx, "cem", "all fresh", "ann", "bob")
}

// secondDeath: node A dies when the group's order has its commit and it does not know yet. Node B asks the order who won.
func (p *play) secondDeath(ctx context.Context) error {
	command := order{Op: "remove", Bot: "ann", Clients: []string{"cem"}, Command: "demo-remove-cem"}
	if err := p.dieAt(ctx, command, true); err != nil {
		return err
	}
	text := "node A is killed (SIGKILL): ann's commit to remove cem was accepted, and she does not know it"
	if err := p.tell(step{Step: "kill", Node: "A", Bot: "ann", Text: text}); err != nil {
		return err
	}
	return p.takeOver(ctx, command, "B has replayed ann's log, asked the group's order who won, and merged the commit", "ann", "bob")
}

// finale: cem comes back, everybody speaks, and a proposal is left waiting for replay to find.
func (p *play) finale(ctx context.Context) error {
	if err := p.comeBack(ctx); err != nil {
		return err
	}
	if _, err := p.ask(ctx, order{Op: "add", Bot: "bob", Clients: []string{"cem"}}); err != nil {
		return err
	}
	epoch, err := p.agree(ctx, "ann", "bob", "cem")
	if err != nil {
		return err
	}
	if err := p.tell(step{Step: "add", Node: p.homes["bob"], Bot: "bob", Epoch: epoch, Text: fmt.Sprintf("bob adds cem again: epoch %d", epoch)}); err != nil {
		return err
	}
	others := map[string][]string{"ann": {"bob", "cem"}, "bob": {"ann", "cem"}, "cem": {"ann", "bob"}}
	for _, name := range []string{"ann", "bob", "cem"} {
		if err := p.say(ctx, name, "good night from "+name, others[name]...); err != nil {
			return err
		}
	}
	if _, err := p.ask(ctx, order{Op: "propose-update", Bot: "bob"}); err != nil {
		return err
	}
	if err := p.pending(ctx, "ann", 1); err != nil {
		return err
	}
	return p.tell(step{Step: "propose", Node: p.homes["bob"], Bot: "bob", Epoch: epoch, Text: "bob proposes new keys, which nobody commits any more"})
}

// dieAt has a bot begin a command and kills its node where the commit goes out: before it does, or when it is accepted.
func (p *play) dieAt(ctx context.Context, command order, accepted bool) error {
	name := p.homes[command.Bot]
	node := p.nodes[name]
	if _, err := node.call(ctx, order{Op: "trap", Trap: &trap{Step: stepSend, After: accepted, Bot: command.Bot, Name: command.Command}}); err != nil {
		return err
	}
	if _, err := node.send(command); err != nil {
		return err
	}
	trapped := func(a answer) bool { return a.Event == "trapped" && a.Bot == command.Bot && a.Text == command.Command }
	if err := p.ears.await(ctx, "node "+name+" to reach "+stepSend, trapped); err != nil {
		return err
	}
	node.kill()
	delete(p.nodes, name)
	p.kills++
	return nil
}

// takeOver hands the dead node's shares to B and asks for the same command again under the same id: it must end as one command.
func (p *play) takeOver(ctx context.Context, command order, text string, members ...string) error {
	if _, err := p.nodes["B"].call(ctx, order{Op: "take", Shares: sharesOfA()}); err != nil {
		return err
	}
	for name, home := range p.homes {
		if home != "A" {
			continue
		}
		if err := p.enter(ctx, name, "B"); err != nil {
			return err
		}
	}
	if err := p.tell(step{Step: "take-over", Node: "B", Text: "node B takes over the shares of A; no data moves"}); err != nil {
		return err
	}
	if _, err := p.ask(ctx, command); err != nil {
		return err
	}
	epoch, err := p.agree(ctx, members...)
	if err != nil {
		return err
	}
	text = fmt.Sprintf("%s: epoch %d of %s", text, epoch, strings.Join(members, ", "))
	if err := p.tell(step{Step: "recover", Node: "B", Bot: "ann", Epoch: epoch, Text: text}); err != nil {
		return err
	}
	return p.say(ctx, "ann", fmt.Sprintf("here I am again, in epoch %d", epoch), members[1:]...)
}

// comeBack starts node A anew and gives it its shares back.
func (p *play) comeBack(ctx context.Context) error {
	var leaving []string
	for _, name := range []string{"ann", "bob", "cem"} {
		if p.homes[name] == "B" && p.belongs(name) {
			leaving = append(leaving, name)
		}
	}
	if _, err := p.nodes["B"].call(ctx, order{Op: "release", Shares: sharesOfA(), Clients: leaving}); err != nil {
		return err
	}
	if err := p.raise(ctx, "A", sharesOfA()); err != nil {
		return err
	}
	for _, name := range leaving {
		if err := p.enter(ctx, name, "A"); err != nil {
			return err
		}
	}
	return p.tell(step{Step: "node", Node: "A", Text: fmt.Sprintf("node A is back as process %d and serves its shares again", p.nodes["A"].cmd.Process.Pid)})
}

// belongs tells which bots are at home on A when it is alive.
func (p *play) belongs(name string) bool { return p.first[name] == "A" }

// pending waits until a bot has so many proposals waiting.
func (p *play) pending(ctx context.Context, name string, count int) error {
	return poll(ctx, name+" to see the proposal", func() (bool, error) {
		a, err := p.ask(ctx, order{Op: "status", Bot: name})
		if err != nil {
			return false, err
		}
		return a.Status.Pending == count, nil
	})
}

// bow stops the nodes as SIGTERM would.
func (p *play) bow(ctx context.Context) error {
	for _, name := range []string{"ann", "bob", "cem"} {
		a, err := p.ask(ctx, order{Op: "status", Bot: name})
		if err != nil {
			return err
		}
		p.last[events.ConversationLog(clientID(name), stageName)] = a.Status
	}
	for _, name := range []string{"A", "B"} {
		if err := p.nodes[name].stop(ctx); err != nil {
			return fmt.Errorf("stop node %s: %w", name, err)
		}
		delete(p.nodes, name)
	}
	return p.tell(step{Step: "stop", Text: "both nodes have drained and stopped"})
}
