// Package crash is the crash matrix: every operation of the product dies before and after every durable step that it passes, and another node goes on.
//
// Which steps an operation passes is not written down anywhere: a first run, in which nothing dies, listens to the hooks. From it and from
// parley.Steps() come the places to die at: (operation, step, before or after, which passing of the step). At each of them the node dies as
// far as the operation's clients and conversations are concerned; a second node on the same store takes over their shares, and then
//
//   - the operation has happened or has not, and all members agree on the epoch that they are in;
//   - the operation, asked again under the same command id, has happened once;
//   - everybody can send to and read from everybody; nobody has heard anything twice;
//   - replay of every log leads to the state that lives;
//   - everything else is as it was at the end of the first run: members, epochs, proposals, key packages in the directory and at home, and
//     which keys are left in every ring.
//
// A new exported operation needs a row in rows_test.go, or TestEveryOperationHasARow fails; a new step needs an operation that passes
// it. A row is a name, the exported operations it stands for, what has to be there before (prepare), and the operation itself (act), which
// has to be one that may be asked again. It names clients and conversations by the scene's methods, so that many rows can live on one node;
// one that needs the node for itself, for its clock or its end, says so (alone). What act needs of prepare beyond the store goes into
// scene.luggage, which reaches the other node also where the first one was a process of its own.
package crash
