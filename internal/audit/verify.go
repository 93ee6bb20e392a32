package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"parley/events"
	eventsv1 "parley/events/v1"
)

// Result is the verdict on a log or on all of them.
type Result string

// The verdicts. Consistent is all that can be said of a history by itself: its end may have been cut off. Complete says that it reaches a
// head that is known from elsewhere.
const (
	Consistent Result = "consistent"
	Complete   Result = "complete"
	Bad        Result = "bad"
)

// LogReport is what was found of one log.
type LogReport struct {
	Log     events.LogID
	Head    events.Head
	Result  Result
	Against string   // Complete: the head it was held against
	Notes   []string // what is no fault of the history, and worth knowing: losses it tells of, transactions that were torn
	Tally   Tally
	Finding *Finding // Bad: the first bad record
}

// Report is the sum over all logs.
type Report struct {
	Result Result
	Logs   int
	Bad    int
	Tally  Tally
	First  *Finding
}

// Summary is the report in one line.
func (r Report) Summary() string {
	if r.Result == Bad {
		return fmt.Sprintf("verify: bad: %d of %d logs; first: %s", r.Bad, r.Logs, r.First)
	}
	t := r.Tally
	parts := []string{
		fmt.Sprintf("%d logs, %d records, %d epochs", r.Logs, t.Records, t.Epochs),
		"MACs " + macWords(t.MACs),
		fmt.Sprintf("%d signatures%s, %d trees, %d transcripts%s", t.Signatures.Done, unchecked(t.Signatures), t.Trees, t.Transcripts.Done, unchecked(t.Transcripts)),
		fmt.Sprintf("%d authenticators and confirmation tags recomputed, %d compared by fingerprint", t.Authenticators.Done, t.Authenticators.Skipped),
	}
	return fmt.Sprintf("verify: %s: %s", r.Result, strings.Join(parts, "; "))
}

// MACWord says whether MACs were checked.
func MACWord(checked bool) string {
	if checked {
		return "checked"
	}
	return "unchecked"
}

func macWords(c Count) string {
	if c.Done > 0 && c.Skipped > 0 {
		return fmt.Sprintf("checked on %d records and unchecked on %d", c.Done, c.Skipped)
	}
	return MACWord(c.Skipped == 0)
}

func unchecked(c Count) string {
	if c.Skipped == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d unchecked)", c.Skipped)
}

// Verify checks logs one after another, then what they say of each other, and reports on each. A bad history is in the report; an error
// is a store that could not be read. A log that is being written to is verified as far as it had come.
func (h *History) Verify(ctx context.Context, logs []events.LogID, head *TrustedHead, each func(LogReport) error) (Report, error) {
	strict := *h
	strict.strict = true
	v := verification{history: &strict, book: newBook(), head: head, report: Report{Result: Complete, Logs: len(logs)}}
	if len(logs) == 0 {
		v.report.Result = Consistent
	}
	if err := h.damage(ctx); err != nil && !errors.Is(err, events.ErrDamaged) {
		return v.report, err
	} else if err != nil {
		v.damage = err
	}
	reports := make([]LogReport, len(logs))
	// Orders come last: a member follows only what stands in its group's order already, so an order read later has all of it.
	for _, orders := range []bool{false, true} {
		for i, id := range logs {
			if (id.Kind == events.KindOrder) != orders {
				continue
			}
			var err error
			if reports[i], err = v.log(ctx, id); err != nil {
				return v.report, fmt.Errorf("log %s: %w", id, err)
			}
		}
	}
	if err := v.wrongKeys(len(reports)); err != nil {
		return v.report, err
	}
	if err := v.together(ctx, reports); err != nil {
		return v.report, err
	}
	for _, r := range reports {
		v.sum(r)
		if err := each(r); err != nil {
			return v.report, err
		}
	}
	v.lost()
	return v.report, nil
}

// wrongKeys tells keys of another deployment from damaged rings: all rings are there, and they open none.
func (v *verification) wrongKeys(logs int) error {
	if v.unopened < 2 || v.unopened < logs || v.damage != nil {
		return nil
	}
	return fmt.Errorf("%w: they open none of %d key rings", ErrBadKeys, logs)
}

type verification struct {
	history  *History
	book     *book
	head     *TrustedHead
	damage   error // the server reports lost data
	unopened int   // logs whose ring the keys do not open
	report   Report
}

// log verifies one log to its end or to its first bad record.
func (v *verification) log(ctx context.Context, id events.LogID) (LogReport, error) {
	r := LogReport{Log: id, Result: Consistent}
	check := v.checker(id, &r.Tally)
	trusted := v.head == nil // the trusted head was passed
	was, err := v.history.replay(ctx, id, func(rec *events.Record) error {
		r.Tally.Records++
		r.Notes = append(r.Notes, losses(rec)...)
		if rec.MACChecked {
			r.Tally.MACs.Done++
		} else {
			r.Tally.MACs.Skipped++
		}
		if err := v.book.batch(rec); err != nil {
			return err
		}
		if err := check.record(rec); err != nil {
			return err
		}
		if v.head != nil && rec.Version == v.head.Version {
			if trusted = rec.Digest == v.head.Digest; !trusted {
				return flawed(CheckHead, "its digest is %s, not the trusted %s", rec.Digest, v.head.Digest)
			}
		}
		r.Head = rec.Head
		return nil
	})
	if err == nil {
		err = check.end()
	}
	if err == nil && !trusted {
		err = flawed(CheckHead, "the log ends at record %d, before the trusted head at %d", r.Head.Version, v.head.Version)
	}
	if errors.Is(err, events.ErrRingCorrupt) {
		v.unopened++
	}
	r.Finding, err = find(id, r.Head.Version+1, err)
	if err != nil {
		return r, err
	}
	r.Notes = append(r.Notes, was.notes()...)
	v.book.read[id] = r.Finding == nil
	switch {
	case r.Finding != nil:
		r.Result = Bad
	case v.head != nil:
		r.Result, r.Against = Complete, fmt.Sprintf("complete up to the trusted head at record %d", v.head.Version)
	case was.anchored > 0:
		r.Result, r.Against = Complete, fmt.Sprintf("complete up to the anchor at record %d", was.anchored)
	}
	return r, nil
}

// losses are what a record itself tells of: records or keys that were found missing.
func losses(r *events.Record) (notes []string) {
	for _, e := range r.Events {
		switch b := e.Body.(type) {
		case *eventsv1.LogRolledBack:
			notes = append(notes, fmt.Sprintf("record %d tells that records %d to %d were lost", r.Version, b.GetFoundVersion()+1, b.GetAnchorVersion()))
		case *eventsv1.SecretsLost:
			notes = append(notes, fmt.Sprintf("record %d tells that the secrets before it were lost", r.Version))
		}
	}
	return notes
}

// notes words what the reading of a log showed beside its records.
func (w reading) notes() (notes []string) {
	for _, version := range w.void {
		notes = append(notes, fmt.Sprintf("record %d is void: its transaction was torn", version))
	}
	if w.torn {
		notes = append(notes, "it ends in a part of a transaction that never became whole; the next node to open it declares that void")
	}
	return notes
}

// checker verifies the content of one log.
type checker interface {
	record(*events.Record) error // the next record
	end() error                  // there are no more
}

func (v *verification) checker(id events.LogID, t *Tally) checker {
	switch {
	case id.Kind == events.KindOrder:
		return newOrderCheck(id, v.book, t)
	case id.Kind == events.KindDirectory, id.Kind == events.KindAuthorities, id.IsClient():
		return newClientCheck(t)
	}
	return newMemberCheck(id, v.book, t)
}

// together adds what only shows when all logs were read: members that followed another order than the one that stands, and parts of
// transactions that are missing. Of a log's findings the first record's stays.
func (v *verification) together(ctx context.Context, reports []LogReport) error {
	found := v.book.strayed()
	for _, f := range v.book.missing() {
		// The log may have been read before the transaction was written; its other parts were found later.
		there, err := v.history.has(ctx, f.Log, f.Version)
		if err != nil {
			return err
		}
		if !there {
			found = append(found, f)
		}
	}
	for _, f := range found {
		for i := range reports {
			r := &reports[i]
			if r.Log == f.Log && (r.Finding == nil || f.Version < r.Finding.Version) {
				r.Result, r.Against, r.Finding = Bad, "", f
			}
		}
	}
	return nil
}

func (v *verification) sum(r LogReport) {
	v.report.Tally.add(r.Tally)
	switch {
	case r.Result == Bad:
		v.report.Bad++
		if v.report.Result = Bad; v.report.First == nil {
			v.report.First = r.Finding
		}
	case r.Result == Consistent && v.report.Result == Complete:
		v.report.Result = Consistent
	}
}

// lost makes a server's own report of lost data a finding, where nothing more exact was found.
func (v *verification) lost() {
	if v.damage == nil || v.report.Result == Bad {
		return
	}
	v.report.Result = Bad
	v.report.First = &Finding{Check: CheckStore, Detail: v.damage.Error()}
}
