package config

import "testing"

// FuzzParse: no text makes the parser panic, and what is accepted can be given to a machine.
func FuzzParse(f *testing.F) {
	for _, role := range Roles() {
		text, _ := Reference(role)
		f.Add([]byte(text))
	}
	for _, text := range []string{smallLeaf, smallGateway, smallServer, "", "role: leaf", "[", "role: &a leaf\n<<: *a", "a: {b: [}", "---\n---\nrole: x"} {
		f.Add([]byte(text))
	}
	for _, b := range badInputs {
		if b.old == "" {
			f.Add([]byte(b.base))
		} else {
			f.Add([]byte(b.replacement))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse("fuzz.yaml", data)
		if err != nil {
			if err.Error() == "" || file != nil {
				t.Fatalf("file %v with error %q", file, err)
			}
			return
		}
		switch {
		case file.Leaf != nil:
			c := file.Leaf.Machine()
			grouped := 0
			for _, g := range c.Groups {
				grouped += len(g.Downlinks)
			}
			if len(c.Uplinks) == 0 || len(c.Downlinks) == 0 || grouped != len(c.Downlinks) {
				t.Fatalf("accepted leaf: %+v", c)
			}
		case file.Gateway != nil:
			if c := file.Gateway.Machine(); len(c.Subnets) == 0 || !c.RouterID.IsValid() {
				t.Fatalf("accepted gateway: %+v", c)
			}
		case file.Server != nil:
			if c := file.Server.Machine(); c.Primary == c.Backup || len(c.Announce) == 0 {
				t.Fatalf("accepted server: %+v", c)
			}
		default:
			t.Fatal("accepted a file without a role")
		}
	})
}
