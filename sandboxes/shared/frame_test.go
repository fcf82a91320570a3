package shared

import (
	"bytes"
	"strings"
	"testing"
)

func TestAFrameIsReadAsItWasWritten(t *testing.T) {
	var wire bytes.Buffer
	writer := NewWriter(&wire)
	for _, payload := range []string{"", "x", strings.Repeat("y", ChunkBytes)} {
		if err := writer.Write(Stdout, []byte(payload)); err != nil {
			t.Fatal(err)
		}
		frame, err := Read(&wire)
		if err != nil || frame.Kind != Stdout || string(frame.Payload) != payload {
			t.Fatalf("read %q %d bytes: %v", frame.Kind, len(frame.Payload), err)
		}
	}
}

func TestALengthThatIsALieAllocatesNothing(t *testing.T) {
	if _, err := Read(strings.NewReader("o\xff\xff\xff\xff")); err == nil {
		t.Fatal("a frame of four gigabytes was believed")
	}
}

func TestAFrameThatIsCutIsAnError(t *testing.T) {
	if _, err := Read(strings.NewReader("o\x00\x00\x00\x05abc")); err == nil {
		t.Fatal("half a frame was read")
	}
}
