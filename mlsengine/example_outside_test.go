package mlsengine_test

import (
	"fmt"
	"log"

	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// newcomer is somebody with an identity in one cipher suite.
func newcomer(name string) mlsengine.Env {
	identity := newIdentity(name)
	return mlsengine.Env{Now: now, Entropy: randomness{}, Identity: &identity}
}

// Bob finds the GroupInfo of Alice's group and joins by a commit of his own.
// Later he comes back without his state, and the same commit removes the leaf
// that he cannot use any more.
func ExampleExternalCommit() {
	aliceEnv, bobEnv := newcomer("alice"), newcomer("bob")
	alice := must(mlsengine.NewGroup(mlsengine.GroupParams{
		GroupID: mlsengine.GroupID("tea"), Suite: suite.X25519_AES128GCM_SHA256_Ed25519, Identity: *aliceEnv.Identity, Lifetime: week,
	}, aliceEnv))
	info := must(alice.GroupInfo(mlsengine.WithTree, aliceEnv))

	joined := must(mlsengine.ExternalCommit(mlsengine.ExternalCommitParams{GroupInfo: info, TreeInInfo: mlsengine.WithTree}, bobEnv))
	// Bob keeps joined.Secrets and the message, and sends it. Whoever keeps the
	// order accepts it: from then on Staged.Next is his group.
	alice = follow(alice, aliceEnv, joined.Message)
	bob := joined.Staged.Next
	fmt.Println("same epoch:", string(alice.EpochAuthenticator()) == string(bob.EpochAuthenticator()))

	// Bob lost it all but his identity.
	info = must(mlsengine.ParseMessage(joined.GroupInfo)).GroupInfo()
	back := must(mlsengine.ExternalCommit(mlsengine.ExternalCommitParams{GroupInfo: info, Resync: mlsengine.ResyncFound()}, bobEnv))
	alice = follow(alice, aliceEnv, back.Message)
	for _, member := range alice.Public().Members() {
		fmt.Printf("epoch %d: leaf %d is %s\n", alice.Epoch(), member.Index, member.Credential.Identity())
	}
	// Output:
	// same epoch: true
	// epoch 2: leaf 0 is alice
	// epoch 2: leaf 1 is bob
}

// follow takes a commit of somebody else.
func follow(g *mlsengine.Group, env mlsengine.Env, message []byte) *mlsengine.Group {
	commit, g, err := g.Open(must(mlsengine.ParseMessage(message)), mlsengine.Limits{})
	if err != nil {
		log.Fatal(err)
	}
	return must(g.StageCommit(mlsengine.CommitInput{Commit: commit}, env)).Next
}

// Alice closes the group she is in with Bob, in favour of one with an
// extension that lets a service propose. Bob founds that group: any member may.
func ExampleGroup_FoundSuccessor() {
	aliceEnv, bobEnv, service := newcomer("alice"), newcomer("bob"), newIdentity("service")
	id := suite.X25519_AES128GCM_SHA256_Ed25519
	alice := must(mlsengine.NewGroup(mlsengine.GroupParams{GroupID: mlsengine.GroupID("tea"), Suite: id, Identity: *aliceEnv.Identity, Lifetime: week}, aliceEnv))
	joined := must(mlsengine.ExternalCommit(mlsengine.ExternalCommitParams{GroupInfo: must(alice.GroupInfo(mlsengine.WithTree, aliceEnv))}, bobEnv))
	alice, bob := follow(alice, aliceEnv, joined.Message), joined.Staged.Next

	senders := mlsengine.ExternalSenders{{SignatureKey: service.Public, Credential: service.Credential}}
	closing := must(alice.Commit(mlsengine.CommitIntent{Inline: []mlsengine.Proposal{&mlsengine.ReInit{
		GroupID: mlsengine.GroupID("more tea"), Version: mlsengine.VersionMLS10, CipherSuite: id,
		Extensions: mlsengine.Extensions{}.WithExternalSenders(senders),
	}}}, aliceEnv))
	alice, bob = closing.Staged.Next, follow(bob, bobEnv, closing.Message)
	_, err := alice.Commit(mlsengine.CommitIntent{}, aliceEnv)
	fmt.Println(err)

	// Alice hands Bob a key package for the new group; he welcomes her to it.
	keyPackage, secrets, err := mlsengine.NewKeyPackage(mlsengine.KeyPackageParams{Suite: id, Identity: *aliceEnv.Identity, Lifetime: week}, aliceEnv)
	if err != nil {
		log.Fatal(err)
	}
	founded := must(bob.FoundSuccessor(mlsengine.Founding{
		KeyPackages: []*mlsengine.KeyPackage{keyPackage}, Lifetime: week, TreeInWelcome: mlsengine.WithTree,
	}, bobEnv))
	bob = founded.Staged.Next
	alice = must(mlsengine.JoinFromWelcome(must(mlsengine.ParseMessage(founded.Welcome)).Welcome(), mlsengine.JoinInput{
		KeyPackage: keyPackage, Secrets: secrets, Identity: *aliceEnv.Identity, PSKs: alice, Origin: alice.Public(),
	}))
	fmt.Println("same epoch:", string(alice.EpochAuthenticator()) == string(bob.EpochAuthenticator()))

	// The service asks for Alice to leave; Bob may commit that.
	proposed := must(bob.Public().ProposeExternally(&mlsengine.Remove{Removed: alice.OwnLeaf()}, nil, mlsengine.Env{Now: now, Entropy: randomness{}, Identity: &service}))
	asked, bob, err := bob.Open(must(mlsengine.ParseMessage(proposed.Message)), mlsengine.Limits{})
	if err != nil {
		log.Fatal(err)
	}
	removed := must(bob.Commit(mlsengine.CommitIntent{Proposals: []*mlsengine.Content{asked}}, bobEnv))
	fmt.Printf("%s: %d member\n", removed.Staged.Public.GroupID(), len(removed.Staged.Public.Members()))
	// Output:
	// the group was reinitialized or left and takes no more messages (§12.4.2): reinitialized in epoch 2
	// same epoch: true
	// more tea: 1 member
}
