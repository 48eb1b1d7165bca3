package linkage

import (
	"testing"
	"time"

	"peerless/internal/step"
)

func TestGate_Product_EveryPairIsStated(t *testing.T) {
	for s := Free; s < gateStates; s++ {
		for e := Close; e < gateEvents; e++ {
			tr := gateTable[s][e]
			if !tr.stated {
				t.Errorf("(%s, %s) is not stated", s, e)
			}
			if tr.do == AskOpen && s != Held && s != Closing {
				t.Errorf("(%s, %s) opens a port that we did not close", s, e)
			}
			if s == Off && (tr.do == AskOpen || tr.do == AskClose) {
				t.Errorf("(%s, %s) touches an operator's port", s, e)
			}
			if tr.to == Held && s != Held && e != Shut && (s != Free || e != Inherited) {
				t.Errorf("(%s, %s) takes an unverified closing for done", s, e)
			}
			if tr.to == Closing && s != Closing && tr.do != AskClose && tr.do != CloseAgain {
				t.Errorf("(%s, %s) closes without asking", s, e)
			}
		}
	}
}

func TestLinkage_Product_EveryPairIsStated(t *testing.T) {
	for s := Starting; s < states; s++ {
		for e := Lost; e < events; e++ {
			tr := table[s][e]
			if !tr.stated {
				t.Errorf("(%s, %s) is not stated", s, e)
			}
			if e == Lost && tr.to != Shutdown && s != Local {
				t.Errorf("(%s, %s) stays open", s, e)
			}
			if tr.do == CloseAll && e != Lost {
				t.Errorf("(%s, %s) closes although nothing was lost", s, e)
			}
			if s == Local && tr.do == CloseAll {
				t.Errorf("(%s, %s) closes what it opened without a gateway", s, e)
			}
			if tr.to == Local && s != Local && (s != Shutdown || e != Alone) {
				t.Errorf("(%s, %s) opens without a gateway", s, e)
			}
			if tr.to == Opening && s == Shutdown {
				t.Errorf("(%s, %s) opens without waiting", s, e)
			}
		}
	}
}

func TestGate_Stories(t *testing.T) {
	open := step.PortState{Present: true, AdminUp: true, Carrier: true}
	off := step.PortState{Present: true}
	ours := step.PortState{Present: true, Ours: true}
	muted := step.PortState{Present: true, AdminUp: true, Carrier: true, Ours: true}
	protodown := step.PortState{Present: true, AdminUp: true, ProtoDown: true}
	tests := []struct {
		name  string
		acts  []any // GateEvent or PortState
		state GateState
		last  GateDo
	}{
		{"closed and verified", []any{Close, Shut, ours}, Held, GateNothing},
		{"report overtakes the outcome", []any{Close, ours, Shut}, Held, NoteClosed},
		{"late report of an open port is not the operator", []any{Close, Shut, open}, Held, GateNothing},
		{"operator opens what we hold", []any{Close, Shut, ours, open}, Closing, CloseAgain},
		{"operator insists", []any{Close, Shut, ours, open, Shut, ours, open}, Yielded, LeaveOpen},
		{"a yielded port is let go when the group opens", []any{Close, Shut, ours, open, Shut, ours, open, Open}, Free, LetGo},
		{"operator's port is not closed", []any{off, Close}, Off, GateNothing},
		{"operator's port is not opened", []any{off, Open}, Off, GateNothing},
		{"foreign protodown counts as the operator", []any{protodown, Open}, Off, GateNothing},
		{"operator takes over what we hold", []any{Close, Shut, ours, off}, Off, LetGo},
		{"closing cut short", []any{Close, Open, Opened}, Free, NoteOpened},
		{"half-open report while opening", []any{Close, Shut, ours, Open, off, Opened, open}, Free, GateNothing},
		{"closed in an earlier life", []any{Inherited, Open}, Freeing, AskOpen},
		{"report from before the opening", []any{Close, Shut, ours, Open, Opened, ours, open}, Free, GateNothing},
		{"muted port counts as closed", []any{Close, Shut, muted}, Held, GateNothing},
		{"device vanishes while held", []any{Close, Shut, ours, step.PortState{}}, Free, GateNothing},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var g Gate
			var do GateDo
			for _, a := range tt.acts {
				switch a := a.(type) {
				case GateEvent:
					do = g.Step(a)
				case step.PortState:
					do = g.Step(g.Read(a))
				}
			}
			if g.State != tt.state || do != tt.last {
				t.Fatalf("state %s do %d, want %s %d", g.State, do, tt.state, tt.last)
			}
		})
	}
}

func TestUplink_Usable_NamesTheReason(t *testing.T) {
	good := Uplink{Up: true, Default: HeardDefault, Alive: true}
	tests := []struct {
		name   string
		change func(*Uplink)
		why    string
	}{
		{"all there", func(*Uplink) {}, ""},
		{"inherited default", func(u *Uplink) { u.Default = InheritedDefault }, ""},
		{"soft evidence alone", func(u *Uplink) { u.SessionDown(step.ReasonReset) }, ""},
		{"hold timer alone", func(u *Uplink) { u.SessionDown(step.ReasonHoldTimer) }, ""},
		{"entry re-resolving", func(u *Uplink) { u.Entry(false, false) }, ""},
		{"link lost", func(u *Uplink) { u.LinkLost() }, "no carrier"},
		{"probes unanswered", func(u *Uplink) { u.Mute() }, "the gateway's kernel is silent to ARP"},
		{"kernel's own probes unanswered", func(u *Uplink) { u.Entry(false, true) }, "the gateway's kernel is silent to ARP"},
		{"cease", func(u *Uplink) { u.SessionDown(step.ReasonCeaseDown) }, "the gateway is shutting down (BGP Cease)"},
		{"session back after cease", func(u *Uplink) { u.SessionDown(step.ReasonCeaseDown); u.SessionUp() }, ""},
		{"default withdrawn", func(u *Uplink) { u.Default = NoDefault }, "no default route from the gateway"},
		{"link back, gateway not heard", func(u *Uplink) { u.LinkLost(); u.Up = true }, "the gateway's address is not resolved"},
		{"link back, gateway heard", func(u *Uplink) { u.LinkLost(); u.Up = true; u.Spoke() }, ""},
		{"link back, entry resolved", func(u *Uplink) { u.LinkLost(); u.Up = true; u.Entry(true, false) }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := good
			tt.change(&u)
			ok, why := u.Usable()
			if why != tt.why || ok != (tt.why == "") {
				t.Fatalf("usable %v because %q, want %q", ok, why, tt.why)
			}
		})
	}
}

func TestWeigh_EveryReasonHasItsStrength(t *testing.T) {
	want := map[step.SessionReason]Strength{step.ReasonNone: NoEvidence, step.ReasonReset: Soft, step.ReasonHoldTimer: Soft,
		step.ReasonCeaseDown: Hard, step.ReasonCeaseOther: Soft, step.ReasonOurs: NoEvidence, step.ReasonUnreachable: NoEvidence}
	for r, s := range want {
		if got := Weigh(r); got != s {
			t.Errorf("%s weighs %d, want %d", r, got, s)
		}
	}
}

func TestLinkage_Ready_EndOfRIBShortensAndMaxBounds(t *testing.T) {
	l := New(Group{Name: "g", MinUplinks: 1}, 100*time.Millisecond, time.Second)
	if l.Usable(1) != Resume || l.Usable(0) != CloseAll || l.Usable(1) != Wait {
		t.Fatal("unexpected course")
	}
	if _, waiting := l.Ready(0, false, true); waiting {
		t.Fatal("opens without the hard conditions")
	}
	if due, waiting := l.Ready(10, true, false); !waiting || due != time.Second+10 {
		t.Fatalf("without End-of-RIB due %s", due)
	}
	if due, waiting := l.Ready(20, true, true); !waiting || due != 100*time.Millisecond+10 {
		t.Fatalf("with End-of-RIB due %s", due)
	}
	l.Ready(30, false, true)
	if due, _ := l.Ready(40, true, true); due != 100*time.Millisecond+40 {
		t.Fatalf("a break must start the delay anew, due %s", due)
	}
	if l.Usable(0) != GiveUp || l.Forwards() {
		t.Fatal("losing an uplink while waiting must give up")
	}
}

func TestLinkage_MinUplinks_CountsAtLeastOne(t *testing.T) {
	l := New(Group{}, 0, 0)
	if l.Usable(0) != CloseAll {
		t.Fatal("a group without uplinks cannot forward")
	}
	l = New(Group{MinUplinks: 2}, 0, 0)
	if l.Usable(1) != CloseAll {
		t.Fatal("one of two needed uplinks is too few")
	}
}

// A neighbour that asks renews the kernel's entry, and shows one direction only: where we ask ourselves, that ends no silence.
func TestUplink_Entry_EndsASilenceOnlyWhereNobodyAsks(t *testing.T) {
	for _, asked := range []bool{false, true} {
		u := Uplink{Up: true, Default: HeardDefault, Asked: asked}
		u.Spoke()
		u.Mute()
		u.Entry(false, false)
		u.Entry(true, false)
		if usable, why := u.Usable(); usable == asked {
			t.Errorf("asked %v: usable %v (%s)", asked, usable, why)
		}
		if u.Spoke(); u.Silent {
			t.Error("an answer ends it")
		}
	}
}
