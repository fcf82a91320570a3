package main

import (
	"testing"
	"time"
)

func TestWhoKeepsToItsShareOwesNothing(t *testing.T) {
	d := &debt{cpus: 0.5}
	for look := 1; look <= 100; look++ {
		if owed := d.after(20*time.Millisecond, float64(look)*0.01); owed > time.Microsecond {
			t.Fatalf("after %d looks it owes %s", look, owed)
		}
	}
}

func TestWhoUsesAWholeCPUIsStoppedUntilItsShareHasCome(t *testing.T) {
	d := &debt{cpus: 0.25}
	if owed := d.after(100*time.Millisecond, 0.1); owed != 300*time.Millisecond {
		t.Fatalf("it owes %s", owed)
	}
	if owed := d.after(300*time.Millisecond, 0.1); owed > time.Microsecond {
		t.Fatalf("having waited it still owes %s", owed)
	}
}

func TestIdlingSavesUpALittleOnly(t *testing.T) {
	d := &debt{cpus: 1}
	d.after(time.Hour, 0)
	if owed := d.after(0, 1); owed != time.Second-creditMost {
		t.Fatalf("it owes %s", owed)
	}
}
