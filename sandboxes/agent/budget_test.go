package main

import (
	"testing"

	"millrace/sandboxes/shared"
)

func TestWhatIsKeptEndsAtTheLimitAndTheRestIsCounted(t *testing.T) {
	b, floods := &budget{}, 0
	b.limit(shared.Limits{OutputBytesMax: 5, FloodBytesMax: 10}, func() { floods++ })
	if kept := b.keep(shared.Stdout, []byte("abc")); string(kept) != "abc" {
		t.Errorf("kept %q", kept)
	}
	if kept := b.keep(shared.Stderr, []byte("defgh")); string(kept) != "de" || floods != 0 {
		t.Errorf("kept %q, %d floods", kept, floods)
	}
	if kept := b.keep(shared.Stdout, make([]byte, 8)); len(kept) != 0 || floods != 1 {
		t.Errorf("kept %q, %d floods", kept, floods)
	}
	var told shared.Ended
	if b.tell(&told); told.StdoutBytes != 11 || told.StderrBytes != 5 || told.DroppedBytes != 11 {
		t.Errorf("told %+v", told)
	}
}
