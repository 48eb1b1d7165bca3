package config

var badOthers = []badInput{
	{
		"required keys missing", "role: leaf\nname: A\n", "", "",
		[]string{
			"t.yaml:1:1: required key \"router-id\" is missing; add it; `peerless config reference leaf` explains it",
			"t.yaml:1:1: required key \"as\" is missing; add it; `peerless config reference leaf` explains it",
			"t.yaml:1:1: required key \"subnets\" is missing; add it; `peerless config reference leaf` explains it",
			"t.yaml:1:1: required key \"attachment-range\" is missing; add it; `peerless config reference leaf` explains it",
			"t.yaml:1:1: required key \"uplinks\" is missing; add it; `peerless config reference leaf` explains it",
			"t.yaml:1:1: required key \"downlinks\" is missing; add it; `peerless config reference leaf` explains it",
		},
	},
	{
		"required keys of elements missing", smallLeaf, "port: A1, attachment: 1, role: primary", "server-port: C1",
		[]string{
			"t.yaml:11:5: required key \"port\" is missing in downlinks[0]; add it; `peerless config reference leaf` explains it",
			"t.yaml:11:5: required key \"attachment\" is missing in downlinks[0]; add it; `peerless config reference leaf` explains it",
			"t.yaml:11:5: required key \"role\" is missing in downlinks[0]; add it; `peerless config reference leaf` explains it",
		},
	},
	{
		"no downlink", smallLeaf, "  - {port: A1, attachment: 1, role: primary}\n  - {port: A2, attachment: 2, role: backup, server-port: C2}\n", "  []\n",
		[]string{
			`t.yaml:11:3: downlinks is an empty list; add the ports to the servers`,
		},
	},
	{
		"group names unknown ports", smallLeaf, "downlinks:", "linkage:\n  - {name: g, uplinks: [A9], downlinks: [A1, A2, A0]}\ndownlinks:",
		[]string{
			`t.yaml:11:25: group g names port A9, which is no uplink of this leaf; use a port listed under uplinks`,
			`t.yaml:11:50: group g names port A0, which is no downlink of this leaf; use a port listed under downlinks`,
		},
	},
	{
		"downlink in two groups", smallLeaf, "downlinks:", "linkage:\n  - {name: g, downlinks: [A1, A2]}\n  - {name: h, downlinks: [A2]}\ndownlinks:",
		[]string{
			`t.yaml:12:27: downlink A2 is in a group already, on line 11; a downlink is in exactly one group`,
		},
	},
	{
		"downlink in no group", smallLeaf, "downlinks:", "linkage:\n  - {name: g, downlinks: [A1]}\ndownlinks:",
		[]string{
			`t.yaml:14:12: downlink A2 is in no linkage group; add it to a group: outside of one it would stay open without a gateway`,
		},
	},
	{
		"more min-uplinks than uplinks", smallLeaf, "downlinks:", "linkage:\n  - {name: g, downlinks: [A1, A2], min-uplinks: 2}\ndownlinks:",
		[]string{
			`t.yaml:11:49: linkage[0].min-uplinks: 2 is out of bounds; use a number from 1 to 1`,
		},
	},
	{
		"duration without a unit", smallLeaf, "downlinks:", "drain: 50\ndownlinks:",
		[]string{
			`t.yaml:10:8: drain: "50" is not a duration; write a number with its unit, such as 50ms, 5s or 10m`,
		},
	},
	{
		"duration out of bounds", smallLeaf, "downlinks:", "drain: 1h\ndownlinks:",
		[]string{
			`t.yaml:10:8: drain: 1h is out of bounds; use a duration from 0s to 10s`,
		},
	},
	{
		"open-delay min above max", smallLeaf, "downlinks:", "open-delay: {min: 40s}\ndownlinks:",
		[]string{
			`t.yaml:10:19: open-delay.min 40s is longer than open-delay.max 30s; raise max or lower min`,
		},
	},
	{
		"probe too fast", smallLeaf, "downlinks:", "probe: {hosts: {interval: 1ms, multiplier: 0}}\ndownlinks:",
		[]string{
			`t.yaml:10:27: probe.hosts.interval: 1ms is out of bounds; use a duration from 10ms to 1m`,
			`t.yaml:10:44: probe.hosts.multiplier: 0 is out of bounds; use a number from 1 to 50`,
		},
	},
	{
		"hold time too short", smallLeaf, "downlinks:", "bgp: {hold-time: 1s, port: 0}\ndownlinks:",
		[]string{
			`t.yaml:10:18: bgp.hold-time: 1s is out of bounds; use a duration from 3s to 18h12m15s`,
			`t.yaml:10:28: bgp.port: 0 is not a TCP port; use a number from 1 to 65535`,
		},
	},
	{
		"hold time not whole seconds", smallLeaf, "downlinks:", "bgp: {hold-time: 3500ms, port: 70000}\ndownlinks:",
		[]string{
			`t.yaml:10:18: bgp.hold-time: 3.5s is not whole seconds; BGP carries seconds: write 9s`,
			`t.yaml:10:32: bgp.port: "70000" is not a number from 0 to 65535; write a number in that range`,
		},
	},
	{
		"restart too long for BGP", smallLeaf, "downlinks:", "graceful-restart: 2h\ndownlinks:",
		[]string{
			`t.yaml:10:19: graceful-restart: 2h is out of bounds; use a duration from 1s to 1h8m15s`,
		},
	},
	{
		"unknown way to advertise", smallLeaf, "downlinks:", "advertise: rip\ndownlinks:",
		[]string{
			`t.yaml:10:12: advertise: unknown value "rip"; use bgp, none or {kernel-table: {table: 100}}`,
		},
	},
	{
		"reserved AS", smallLeaf, "as: 65001", "as: 0",
		[]string{
			`t.yaml:4:5: as: 0 is a reserved AS number; use a private one, such as 65001`,
		},
	},
	{
		"same AS as the gateway", smallLeaf, "neighbor: 172.31.1.1", "neighbor: 172.31.1.1, as: 65001",
		[]string{
			`t.yaml:9:42: gateway and leaf have the same AS number 65001; give each node an AS number of its own`,
		},
	},
	{
		"no leaves", smallGateway, "leaves:\n  - {name: A, port: to-A, address: 172.31.1.2, as: 65001, ports: {2: A2, 1: A1}}\n  - {name: B, port: to-B, address: 172.31.2.2, as: 65002}\n", "",
		[]string{
			`t.yaml:1:1: the gateway has no leaf; list leaves, or accept a range under dynamic-leaves`,
		},
	},
	{
		"asks through leaves without a default route to withhold", smallGateway, "leaves:", "default-route: false\nprobe: {through: {}}\nleaves:",
		[]string{
			`t.yaml:8:18: probe.through: with default-route: false there is no default route that could be withheld from a leaf; leave it out, or set default-route: true`,
		},
	},
	{
		"asks through leaves beside an engine", smallGateway, "leaves:", "routes: kernel\nprobe: {through: {}}\nleaves:",
		[]string{
			`t.yaml:8:18: probe.through: without routes: bgp this gateway tells no leaf a default route that it could withhold; leave it out`,
		},
	},
	{
		"two leaves on one port", smallGateway, "to-B", "to-A",
		[]string{
			`t.yaml:9:21: port to-A is named twice, first in leaves[0].port on line 8; every leaf hangs on a port of its own`,
		},
	},
	{
		"two leaves of one name", smallGateway, "name: B", "name: A",
		[]string{
			`t.yaml:9:12: leaf A is named twice, first in leaves[0].name on line 8; give every leaf its own name`,
		},
	},
	{
		"two leaves of one address", smallGateway, "172.31.2.2", "172.31.1.2",
		[]string{
			`t.yaml:9:36: leaf address 172.31.1.2 is named twice, first in leaves[0].address on line 8; every leaf has an address of its own`,
		},
	},
	{
		"leaf port number is a word", smallGateway, "{2: A2, 1: A1}", "{x: A2, 0: A1}",
		[]string{
			"t.yaml:8:67: key \"x\" of ports is not a number from 1; write it as `1: A1`",
			"t.yaml:8:74: key \"0\" of ports is not a number from 1; write it as `1: A1`",
		},
	},
	{
		"leaf port number twice", smallGateway, "{2: A2, 1: A1}", "{1: A2, 1: A1}",
		[]string{
			`t.yaml:8:74: duplicate number 1; remove one of them`,
		},
	},
	{
		"leaf port name twice", smallGateway, "{2: A2, 1: A1}", "{2: A1, 1: A1}",
		[]string{
			`t.yaml:8:70: leaf port A1 is named twice, first in leaves[0].ports.1 on line 8; give every port its own name`,
		},
	},
	{
		"dynamic ranges overlap", smallGateway, "leaves:", "dynamic-leaves: [{prefix: 172.16.0.0/12, as: 65100}, {prefix: 172.17.0.0/16, as: 65000}]\nleaves:",
		[]string{
			`t.yaml:7:63: range 172.17.0.0/16 overlaps range 172.16.0.0/12 of dynamic-leaves[0]; keep one of them`,
			`t.yaml:7:82: gateway and leaf have the same AS number 65000; give each node an AS number of its own`,
		},
	},
	{
		"server port 0 and outside", smallGateway, "leaves:", "server-ports: {0: C0, 70000: C7}\nleaves:",
		[]string{
			"t.yaml:7:16: key \"0\" of server-ports is not a number from 1; write it as `1: A1`",
			`t.yaml:7:30: attachment id 70000 lies outside attachment-range 10.255.0.0/16; use a smaller id or a larger range`,
		},
	},
	{
		"peer is a leaf", smallGateway, "leaves:", "peer: {port: to-A, address: 172.31.2.2}\nleaves:",
		[]string{
			`t.yaml:7:14: port to-A is named twice, first in leaves[0].port on line 9; a port has one use: remove one of them`,
			`t.yaml:7:29: peer address 172.31.2.2 is also leaf B (leaves[1]); write the other gateway's address`,
		},
	},
	{
		"static host without a known leaf", smallGateway, "leaves:", "static-hosts: [{address: 10.10.10.1, primary: X, backup: B}, {address: 10.10.10.1, primary: A, backup: A}]\nleaves:",
		[]string{
			`t.yaml:7:47: static-hosts[0].primary: no leaf is named "X"; use a name listed under leaves`,
			`t.yaml:7:72: static host 10.10.10.1 is named twice, first in static-hosts[0].address on line 7; a host has one primary and one backup: remove one of them`,
			`t.yaml:7:104: primary and backup are the same leaf A; the backup is the other leaf`,
		},
	},
	{
		"table base in the kernel's tables", smallGateway, "leaves:", "table-base: 254\nleaves:",
		[]string{
			`t.yaml:7:13: table-base: 254 is out of bounds; use a number from 256 to 2147483648; a hundred tables from it on are used`,
		},
	},
	{
		"default-route is a word", smallGateway, "leaves:", "default-route: on\nleaves:",
		[]string{
			`t.yaml:7:16: default-route: "on" is neither true nor false; write true or false`,
		},
	},
	{
		"primary is the backup", smallServer, "eth1", "eth0",
		[]string{
			`t.yaml:3:49: port eth0 is named twice, first in link-pair.primary on line 3; a pair is two ports in one device`,
		},
	},
	{
		"link pair missing", "role: server\nname: C1\n", "", "",
		[]string{
			"t.yaml:1:1: required key \"link-pair\" is missing; add it; `peerless config reference server` explains it",
		},
	},
	{
		"server gateway unusable", smallServer, "10.10.10.254", "0.0.0.0",
		[]string{
			`t.yaml:3:64: link-pair.gateway: 0.0.0.0 is not the address of one machine; write the neighbour's own address`,
		},
	},
	{
		"fail-back policy unknown", smallServer, "name: C1", "name: C1\nfail-back: {policy: always, stable: -1s}",
		[]string{
			`t.yaml:3:21: fail-back.policy: unknown value "always"; use after or never`,
			`t.yaml:3:37: fail-back.stable: -1s is out of bounds; use a duration from 0s to 24h`,
		},
	},
	{
		"through without a target", smallServer, "name: C1", "name: C1\nprobe: {through: {multiplier: 2}, leaf: {interval: 1ms}}",
		[]string{
			`t.yaml:3:18: required key "target" is missing in probe.through; add it; ` + "`peerless config reference server` explains it",
			`t.yaml:3:52: probe.leaf.interval: 1ms is out of bounds; use a duration from 10ms to 1m`,
		},
	},
	{
		"through the leaf to the leaf", smallServer, "name: C1", "name: C1\nprobe: {through: {target: 10.10.10.254}}",
		[]string{
			`t.yaml:3:27: probe.through.target: 10.10.10.254 is the gateway address, for which the leaf itself answers; name an address of the gateway beyond the leaves`,
		},
	},
	{
		"announce not from 0", smallServer, "name: C1", "name: C1\nannounce: [20ms, 10ms, 2h]",
		[]string{
			`t.yaml:3:12: announce: the first moment is 20ms; start with 0s: the first announcement moves the traffic`,
			`t.yaml:3:18: announce: 10ms does not come after 20ms; write the moments in rising order`,
			`t.yaml:3:24: announce[2]: 2h is out of bounds; use a duration from 0s to 1m`,
		},
	},
	{
		"announce empty", smallServer, "name: C1", "name: C1\nannounce: []",
		[]string{
			`t.yaml:3:11: announce is an empty list; add at least 0s`,
		},
	},
	{
		"api mode and socket", smallServer, "name: C1", "name: C1\napi: {mode: 0999, socket: run/x.sock}",
		[]string{
			`t.yaml:3:13: api.mode: "0999" is not a file mode; write it in octal, such as 0660`,
			`t.yaml:3:27: api.socket: "run/x.sock" is not an absolute path; start it with a slash`,
		},
	},
	{
		"socket path too long", smallServer, "name: C1", "name: C1\napi: {socket: /xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx}",
		[]string{
			`t.yaml:3:15: api.socket: the path has 111 bytes; use a path of at most 90`,
		},
	},
	{
		"log words", smallServer, "name: C1", "name: C1\nlog: {level: loud, format: xml}",
		[]string{
			`t.yaml:3:14: log.level: unknown value "loud"; use debug, info, warn or error`,
			`t.yaml:3:28: log.format: unknown value "xml"; use text or json`,
		},
	},
	{
		"carrier poll too fast", smallServer, "name: C1", "name: C1\ncarrier-poll: 10us",
		[]string{
			`t.yaml:3:15: carrier-poll: 10µs is out of bounds; use a duration from 1ms to 1s`,
		},
	},
}
