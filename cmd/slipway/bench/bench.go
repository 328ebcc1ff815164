// Package bench measures Slipway against the tools it stands on: `make bench`. Each figure comes from one run in which
// both sides took turns, so that what else the machine does hits both. A line has the goal in the name of its unit.
package bench
