package mlsengine_test

import (
	"crypto/rand"
	"fmt"
	"log"

	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// randomness is the entropy of a real client.
type randomness struct{}

func (randomness) Draw(_ string, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

const now = 1_700_000_000

var week = mlsengine.Lifetime{NotBefore: now - 3600, NotAfter: now + 7*24*3600}

// newIdentity makes a signature key and a basic credential.
func newIdentity(name string) mlsengine.SigningIdentity {
	s := must(suite.Get(suite.X25519_AES128GCM_SHA256_Ed25519))
	key, public, err := s.GenerateSignatureKeyPair(randomness{}.Draw("signature", s.SignatureSeedSize()))
	if err != nil {
		log.Fatal(err)
	}
	return mlsengine.SigningIdentity{Credential: mlsengine.BasicCredential([]byte(name)), Key: key, Public: public}
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// Alice creates a group, adds Bob, says something, and removes him again.
// Every step returns a successor; whoever stores it first loses nothing.
func ExampleGroup() {
	id := suite.X25519_AES128GCM_SHA256_Ed25519
	aliceID, bobID := newIdentity("alice"), newIdentity("bob")
	aliceEnv := mlsengine.Env{Now: now, Entropy: randomness{}, Identity: &aliceID}
	bobEnv := mlsengine.Env{Now: now, Entropy: randomness{}, Identity: &bobID}

	// Bob publishes a key package; Alice adds him and takes the new epoch.
	keyPackage, secrets, err := mlsengine.NewKeyPackage(mlsengine.KeyPackageParams{Suite: id, Identity: bobID, Lifetime: week}, bobEnv)
	if err != nil {
		log.Fatal(err)
	}
	alice := must(mlsengine.NewGroup(mlsengine.GroupParams{GroupID: mlsengine.GroupID("tea"), Suite: id, Identity: aliceID, Lifetime: week}, aliceEnv))
	added := must(alice.Commit(mlsengine.CommitIntent{
		Inline: []mlsengine.Proposal{&mlsengine.Add{KeyPackage: *keyPackage}}, TreeInWelcome: mlsengine.WithTree,
	}, aliceEnv))
	alice = added.Staged.Next

	// Bob joins by the Welcome.
	welcome := must(mlsengine.ParseMessage(added.Welcome)).Welcome()
	bob := must(mlsengine.JoinFromWelcome(welcome, mlsengine.JoinInput{KeyPackage: keyPackage, Secrets: secrets, Identity: bobID}))
	fmt.Println("same epoch:", string(alice.EpochAuthenticator()) == string(bob.EpochAuthenticator()))

	// Alice reserves generations, stores that, and then uses them.
	_, alice, block, err := alice.Reserve(mlsengine.ContentTypeApplication, 8)
	if err != nil {
		log.Fatal(err)
	}
	sealed, _, err := alice.SealApplication(block, mlsengine.Plaintext{Data: []byte("the kettle is on"), Padding: 64}, aliceEnv)
	if err != nil {
		log.Fatal(err)
	}
	limits := mlsengine.Limits{OutOfOrderTolerance: 2, MaximumForwardDistance: 1000}
	said, bob, err := bob.Open(must(mlsengine.ParseMessage(sealed)), limits)
	if err != nil {
		log.Fatal(err)
	}
	sender, _ := bob.Public().Member(said.Sender().Leaf)
	fmt.Printf("%s: %s\n", sender.Credential.Identity(), said.Application())

	// Alice removes Bob, who learns of it from the same commit as everybody.
	removed := must(alice.Commit(mlsengine.CommitIntent{Inline: []mlsengine.Proposal{&mlsengine.Remove{Removed: bob.OwnLeaf()}}}, aliceEnv))
	commit, bob, err := bob.Open(must(mlsengine.ParseMessage(removed.Message)), limits)
	if err != nil {
		log.Fatal(err)
	}
	outcome := must(bob.StageCommit(mlsengine.CommitInput{Commit: commit}, bobEnv))
	fmt.Println("bob is removed:", outcome.Removed)
	for _, member := range removed.Staged.Public.Members() {
		fmt.Printf("epoch %d: leaf %d is %s\n", removed.Staged.Public.Epoch(), member.Index, member.Credential.Identity())
	}
	// Output:
	// same epoch: true
	// alice: the kettle is on
	// bob is removed: true
	// epoch 2: leaf 0 is alice
}
