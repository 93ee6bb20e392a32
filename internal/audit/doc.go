// Package audit reads and judges histories: it opens a log wherever it is kept, folds it to any place, and proves it right or names the
// first record that is wrong.
//
//	Source    a server, a stopped node's directory (as a copy) or an exported file
//	Place     where in a history: newest, an epoch, a version, a time
//	Fold      the conversation's state at a place
//	Verify    chain, MACs, signatures, hashes; with keys also authenticators and confirmation tags
//	Writer    the export file: every stored message of the chosen logs, and no key
//
// Nothing here writes to what it reads.
package audit
