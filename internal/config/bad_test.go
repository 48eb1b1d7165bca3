package config

import "slices"

// badInput is a correct file with one thing made wrong, and every problem that must be reported for it.
type badInput struct {
	name             string
	base             string
	old, replacement string
	want             []string
}

var badInputs = slices.Concat(badLeaves, badOthers, badEngines)

var badLeaves = []badInput{
	{
		"unknown word for BFD", smallLeaf, "name: A\n", "name: A\nbfd: fast\n",
		[]string{
			`t.yaml:3:6: bfd: unknown value "fast"; use on, off or {interval: 100ms, multiplier: 3}`,
		},
	},
	{
		"BFD too fast", smallLeaf, "name: A\n", "name: A\nbfd: {interval: 1ms}\n",
		[]string{
			`t.yaml:3:17: bfd.interval: 1ms is out of bounds; use a duration from 10ms to 1m`,
		},
	},
	{
		"unknown profile", smallLeaf, "name: A\n", "name: A\nprofile: quick\n",
		[]string{
			`t.yaml:3:10: profile: unknown value "quick"; use default or fast`,
		},
	},
	{
		"unknown key", smallLeaf, "router-id:", "router-ids:",
		[]string{
			`t.yaml:3:1: unknown key "router-ids"; did you mean "router-id"?`,
		},
	},
	{
		"unknown key far from any", smallServer, "name: C1", "name: C1\ncolour: red",
		[]string{
			`t.yaml:3:1: unknown key "colour"; known keys here: announce, api, carrier-poll, fail-back, link-pair, log, max-guests, name, probe, profile, role, settle, standby-probe, state-dir`,
		},
	},
	{
		"unknown key in an element", smallLeaf, "neighbor:", "neighbour:",
		[]string{
			`t.yaml:9:16: unknown key "neighbour" in uplinks[0]; did you mean "neighbor"?`,
		},
	},
	{
		"duplicate key", smallServer, "name: C1", "name: C1\nname: C2",
		[]string{
			`t.yaml:3:1: duplicate key "name", first on line 2; remove one of them`,
		},
	},
	{
		"key of another role", smallServer, "name: C1", "name: C1\nuplinks: []",
		[]string{
			`t.yaml:3:1: key "uplinks" belongs to role leaf, and this file has role server; remove it`,
		},
	},
	{
		"nested key of another role", smallGateway, "[{prefix: 10.10.10.0/24}]", "[{prefix: 10.10.10.0/24, gateway: 10.10.10.254}]",
		[]string{
			`t.yaml:5:35: key "subnets.gateway" belongs to role leaf, and this file has role gateway; remove it`,
		},
	},
	{
		"unknown role", smallLeaf, "role: leaf", "role: spine",
		[]string{
			`t.yaml:1:7: unknown role "spine"; use leaf, gateway or server`,
		},
	},
	{
		"role missing", smallLeaf, "role: leaf\n", "",
		[]string{
			"t.yaml:1:1: required key \"role\" is missing; add `role: leaf`, `role: gateway` or `role: server`",
		},
	},
	{
		"empty file", "", "", "",
		[]string{
			"t.yaml:1:1: the file says nothing; start from `peerless config reference leaf` (or gateway, server)",
		},
	},
	{
		"comments only", "# nothing\n", "", "",
		[]string{
			"t.yaml:1:1: the file says nothing; start from `peerless config reference leaf` (or gateway, server)",
		},
	},
	{
		"not YAML", smallServer, "name: C1", "name: [C1",
		[]string{
			`t.yaml:3:1: not valid YAML: ',' or ']' must be specified; correct the syntax`,
		},
	},
	{
		"a list instead of keys", "- a\n", "", "",
		[]string{
			"t.yaml:1:1: the file is a list, not a list of keys with values; start from `peerless config reference leaf` (or gateway, server)",
		},
	},
	{
		"two documents", smallServer, "name: C1", "name: C1\n---\nname: C2",
		[]string{
			`t.yaml:4:1: a second YAML document; keep one document in a file`,
		},
	},
	{
		"key without a value", smallLeaf, "as: 65001", "as:",
		[]string{
			`t.yaml:4:4: key "as" has no value; give it a value, or remove it for its default`,
		},
	},
	{
		"alias", smallServer, "name: C1", "name: &x C1",
		[]string{
			`t.yaml:2:7: a YAML anchor or alias is not supported; write the value out`,
		},
	},
	{
		"scalar for a list", smallLeaf, "uplinks:\n  - {port: A0, neighbor: 172.31.1.1}", "uplinks: A0",
		[]string{
			`t.yaml:8:10: uplinks is "A0"; write it as a list: each element after a dash`,
		},
	},
	{
		"list for a scalar", smallServer, "name: C1", "name: [C1]",
		[]string{
			`t.yaml:2:7: name is a list; write a single value`,
		},
	},
	{
		"scalar for a mapping", smallServer, "name: C1", "name: C1\napi: yes",
		[]string{
			`t.yaml:3:6: api is "yes"; write it as keys with values`,
		},
	},
	{
		"name with a slash", smallServer, "name: C1", "name: ../C1",
		[]string{
			`t.yaml:2:7: name: "../C1" is not a name; use 1 to 64 letters, digits, dots, dashes and underscores`,
		},
	},
	{
		"bad address", smallLeaf, "neighbor: 172.31.1.1", "neighbor: 172.31.1",
		[]string{
			`t.yaml:9:26: uplinks[0].neighbor: "172.31.1" is not an IPv4 address; write an address such as 10.10.10.254`,
		},
	},
	{
		"IPv6 address", smallLeaf, "neighbor: 172.31.1.1", "neighbor: 'fd00::1'",
		[]string{
			`t.yaml:9:26: uplinks[0].neighbor: "fd00::1" is not an IPv4 address; write an address such as 10.10.10.254`,
		},
	},
	{
		"broadcast as neighbor", smallLeaf, "neighbor: 172.31.1.1", "neighbor: 255.255.255.255",
		[]string{
			`t.yaml:9:26: uplinks[0].neighbor: 255.255.255.255 is not the address of one machine; write the neighbour's own address`,
		},
	},
	{
		"bad prefix", smallLeaf, "prefix: 10.10.10.0/24", "prefix: 10.10.10.0",
		[]string{
			`t.yaml:6:14: subnets[0].prefix: "10.10.10.0" is not an IPv4 prefix; write a prefix such as 10.10.10.0/24`,
		},
	},
	{
		"prefix with host bits", smallLeaf, "prefix: 10.10.10.0/24", "prefix: 10.10.10.1/24",
		[]string{
			`t.yaml:6:14: subnets[0].prefix: 10.10.10.1/24 has bits set behind its prefix length; write 10.10.10.0/24`,
		},
	},
	{
		"prefix too long for hosts", smallGateway, "prefix: 10.10.10.0/24", "prefix: 10.10.10.0/31",
		[]string{
			`t.yaml:5:20: subnets[0].prefix: 10.10.10.0/31 is no subnet for hosts; use a prefix length from 8 to 30`,
		},
	},
	{
		"bad hardware address", smallLeaf, "02:00:5e:00:00:01", "02-00-5e-00-00-01",
		[]string{
			`t.yaml:6:57: subnets[0].mac: "02-00-5e-00-00-01" is not a hardware address; write six octets such as 02:00:5e:00:00:01`,
		},
	},
	{
		"group hardware address", smallLeaf, "02:00:5e:00:00:01", "01:00:5e:00:00:01",
		[]string{
			`t.yaml:6:57: subnets[0].mac: 01:00:5e:00:00:01 is not the address of one machine; write a unicast address such as 02:00:5e:00:00:01`,
		},
	},
	{
		"port named twice", smallLeaf, "port: A2", "port: A1",
		[]string{
			`t.yaml:12:12: port A1 is named twice, first in downlinks[0].port on line 11; a port has one use: remove one of them`,
		},
	},
	{
		"downlink is also an uplink", smallLeaf, "port: A2", "port: A0",
		[]string{
			`t.yaml:12:12: downlink A0 is also an uplink, on line 9; a port has one use: remove one of them`,
		},
	},
	{
		"port name too long", smallLeaf, "port: A2", "port: abcdefghijklmnop",
		[]string{
			`t.yaml:12:12: downlinks[1].port: port name "abcdefghijklmnop" has 16 bytes; Linux allows 15; write the device's real name`,
		},
	},
	{
		"port name with a slash", smallLeaf, "port: A2", "port: a/b",
		[]string{
			`t.yaml:12:12: downlinks[1].port: port name "a/b" cannot be a network device; a name has no slash, colon, space or control character`,
		},
	},
	{
		"subnets overlap", smallLeaf, "attachment-range:", "  - {prefix: 10.10.0.0/16, gateway: 10.10.0.1, mac: '02:00:5e:00:00:01'}\nattachment-range:",
		[]string{
			`t.yaml:7:14: subnet 10.10.0.0/16 overlaps subnet 10.10.10.0/24 of subnets[0]; give every subnet its own addresses`,
		},
	},
	{
		"two virtual MACs", smallLeaf, "attachment-range:", "  - {prefix: 10.11.0.0/16, gateway: 10.11.0.1, mac: '02:00:5e:00:00:02'}\nattachment-range:",
		[]string{
			`t.yaml:7:53: virtual MAC 02:00:5e:00:00:02 differs from 02:00:5e:00:00:01 of subnets[0]; a port has one MAC: use the same for every subnet`,
		},
	},
	{
		"gateway outside its subnet", smallLeaf, "gateway: 10.10.10.254", "gateway: 10.10.11.254",
		[]string{
			`t.yaml:6:38: gateway address 10.10.11.254 is no host address of subnet 10.10.10.0/24; use an address inside, the same on both leaves`,
		},
	},
	{
		"gateway is the broadcast address", smallLeaf, "gateway: 10.10.10.254", "gateway: 10.10.10.255",
		[]string{
			`t.yaml:6:38: gateway address 10.10.10.255 is no host address of subnet 10.10.10.0/24; use an address inside, the same on both leaves`,
		},
	},
	{
		"neighbor inside a subnet", smallLeaf, "neighbor: 172.31.1.1", "neighbor: 10.10.10.7",
		[]string{
			`t.yaml:9:26: neighbor 10.10.10.7 lies inside a served subnet; write the gateway's address on the link to this leaf`,
		},
	},
	{
		"range overlaps a subnet", smallLeaf, "10.255.0.0/16", "10.10.10.128/25",
		[]string{
			`t.yaml:7:19: attachment-range 10.10.10.128/25 overlaps subnet 10.10.10.0/24; use a range that no host has`,
		},
	},
	{
		"attachment 0", smallLeaf, "attachment: 2", "attachment: 0",
		[]string{
			`t.yaml:12:28: attachment id 0 means none; number the server ports from 1, the same on both leaves`,
		},
	},
	{
		"attachment twice", smallLeaf, "attachment: 2", "attachment: 1",
		[]string{
			`t.yaml:12:28: attachment id 1 is named twice, first in downlinks[0].attachment on line 11; a server port hangs on one port of this leaf`,
		},
	},
	{
		"attachment outside the range", smallLeaf, "attachment: 2", "attachment: 65536",
		[]string{
			`t.yaml:12:28: attachment id 65536 lies outside attachment-range 10.255.0.0/16; use a smaller id or a larger range`,
		},
	},
	{
		"negative attachment", smallLeaf, "attachment: 2", "attachment: -1",
		[]string{
			`t.yaml:12:28: downlinks[1].attachment: "-1" is not a number from 0 to 4294967295; write a number in that range`,
		},
	},
	{
		"server port twice", smallLeaf, "role: primary", "role: primary, server-port: C2",
		[]string{
			`t.yaml:12:58: server port "C2" is named twice, first in downlinks[0].server-port on line 11; a server port hangs on one port of this leaf`,
		},
	},
	{
		"bad link role", smallLeaf, "role: backup", "role: standby",
		[]string{
			`t.yaml:12:37: downlinks[1].role: unknown value "standby"; use primary or backup`,
		},
	},
	{
		"index collides with a place", smallLeaf, "role: primary", "role: primary, index: 2",
		[]string{
			`t.yaml:12:5: port index 2 is named twice, first in downlinks[0].index on line 11; a port without an index has its place in the list; number all, or none`,
		},
	},
	{
		"max-hosts 0", smallLeaf, "role: primary", "role: primary, max-hosts: 0",
		[]string{
			`t.yaml:11:57: downlinks[0].max-hosts: 0 is out of bounds; use a number from 1 to 1048576`,
		},
	},
	{
		"static hosts overlap", smallLeaf, "role: primary}\n  - {port: A2,", "role: primary, static-hosts: [{address: 10.10.10.1}]}\n  - {port: A2, static-hosts: [{address: 10.10.10.1}],",
		[]string{
			`t.yaml:12:41: static host 10.10.10.1 is named twice, first in downlinks[0].static-hosts[0].address on line 11; a host is behind one port of this leaf: remove one of them`,
		},
	},
	{
		"static host outside", smallLeaf, "role: primary", "role: primary, static-hosts: [{address: 10.10.11.1}]",
		[]string{
			`t.yaml:11:71: static host 10.10.11.1 is no host address of a configured subnet; correct the address, or add its subnet`,
		},
	},
	{
		"static host is the gateway", smallLeaf, "role: primary", "role: primary, static-hosts: [{address: 10.10.10.254}]",
		[]string{
			`t.yaml:11:71: static host 10.10.10.254 is the gateway address of its subnet; remove it`,
		},
	},
	{
		"more static hosts than max-hosts", smallLeaf, "role: primary", "role: primary, max-hosts: 1, static-hosts: [{address: 10.10.10.1}, {address: 10.10.10.2}]",
		[]string{
			`t.yaml:11:74: 2 static hosts on a port with max-hosts 1; raise max-hosts`,
		},
	},
}
