package memo

import (
	"os"
	"path/filepath"
	"testing"

	"peerless/internal/step"
)

func TestDriver_Memo_IsKnownToTheNextLife(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, "A."+name) }
	apply := func(w step.Want) {
		t.Helper()
		if err := New(path).Apply([]step.Want{w})[0]; err != nil {
			t.Fatal(err)
		}
	}
	read := func() (string, bool) {
		t.Helper()
		text, known, err := New(path).Read("drain")
		if err != nil {
			t.Fatal(err)
		}
		return text, known
	}
	if _, known := read(); known {
		t.Fatal("known before it was written")
	}
	apply(step.Want{Object: step.Memo{Name: "drain", Text: "drained"}})
	apply(step.Want{Object: step.Memo{Name: "drain", Text: "drained by force"}})
	if text, known := read(); !known || text != "drained by force" {
		t.Fatalf("read %q, %v", text, known)
	}
	apply(step.Want{Object: step.Memo{Name: "drain"}, Absent: true})
	apply(step.Want{Object: step.Memo{Name: "drain"}, Absent: true}) // forgetting twice is no error
	if _, known := read(); known {
		t.Fatal("still known")
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Fatalf("left behind: %v", left)
	}
}

func TestDriver_Trouble_IsTold(t *testing.T) {
	d := New(func(name string) string { return filepath.Join(t.TempDir(), "missing", name) })
	if err := d.Apply([]step.Want{{Object: step.Memo{Name: "drain"}}})[0]; err == nil {
		t.Error("written into a directory that is not there")
	}
	if err := d.Apply([]step.Want{{Object: step.Gate{Port: "A1"}}})[0]; err == nil {
		t.Error("a port taken for a memo")
	}
	big := filepath.Join(t.TempDir(), "drain")
	if err := os.WriteFile(big, make([]byte, lineMax+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := New(func(string) string { return big }).Read("drain"); err == nil {
		t.Error("a file that is no memo was believed")
	}
}
