package observe

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"slipway.dev/views/components"
)

const (
	chartSlots  = 60 // one for each minute
	chartHeight = 28
	tableSlots  = 12 // rows of the table: five minutes each
)

// Value is what was measured at a moment.
type Value struct {
	At time.Time
	N  int64
}

// Unit writes a number of what a chart shows.
type Unit func(int64) string

// CPU writes thousandths of a processor: "0.25".
func CPU(n int64) string { return strconv.FormatFloat(float64(n)/1000, 'f', -1, 64) }

// Memory writes bytes in MiB, as limits are: "48 MiB".
func Memory(n int64) string {
	if n < 10<<20 {
		return strconv.FormatFloat(float64(n*10>>20)/10, 'f', -1, 64) + " MiB"
	}
	return components.Thousands(n>>20) + " MiB"
}

// ChartInput is what a chart is made of.
type ChartInput struct {
	Title       string
	Unit        Unit
	From, Until time.Time
	Series      [][]Value // one for each instance: what all took is added up
	Limit       int64     // of all together; 0: none
	Marks       []Mark
}

// Mark is a moment that the chart shows.
type Mark struct {
	At   time.Time
	Said string
}

// Chart is a chart that is ready to be drawn, on an axis of 0 to 100 from left to right.
type Chart struct {
	Title string
	Now   string // empty: nothing was measured
	Most  string
	Limit string // empty: none
	Path  string // the area under the values
	Line  string // how high the limit is
	Marks []ChartMark
	Rows  []ChartRow
}

// ChartMark is a mark and where it is.
type ChartMark struct{ X, Said string }

// ChartRow is the most of some minutes.
type ChartRow struct {
	At   time.Time
	Most string
}

// NewChart makes the chart of what was measured.
func NewChart(in ChartInput) Chart {
	slots, known := in.slots()
	c := Chart{Title: in.Title}
	if in.Limit > 0 {
		c.Limit = in.Unit(in.Limit)
	}
	most, now := int64(0), int64(0)
	for n, v := range slots {
		if known[n] {
			most, now, c.Now = max(most, v), v, in.Unit(v)
		}
	}
	if c.Now == "" {
		return c
	}
	c.Now, c.Most = in.Unit(now), in.Unit(most)
	top := max(in.Limit, most+most/5, 1)
	c.Path = area(slots, known, top)
	if in.Limit > 0 {
		c.Line = components.Hundredths(height(in.Limit, top))
	}
	length := in.Until.Sub(in.From).Seconds()
	for _, m := range in.Marks {
		if at := m.At.Sub(in.From).Seconds(); at > 0 && at < length {
			c.Marks = append(c.Marks, ChartMark{X: components.Hundredths(at / length * 100), Said: m.Said})
		}
	}
	c.Rows = in.rows(slots, known)
	return c
}

// slots are the most of each minute, added up over the series, and whether anything is known of it.
func (in ChartInput) slots() (sums [chartSlots]int64, known [chartSlots]bool) {
	length := in.Until.Sub(in.From)
	for _, series := range in.Series {
		var most [chartSlots]int64
		for _, v := range series {
			n := int(v.At.Sub(in.From) * chartSlots / max(length, 1))
			if n >= 0 && n < chartSlots {
				most[n], known[n] = max(most[n], v.N), true
			}
		}
		for n, v := range most {
			sums[n] += v
		}
	}
	return sums, known
}

func (in ChartInput) rows(slots [chartSlots]int64, known [chartSlots]bool) (rows []ChartRow) {
	const each = chartSlots / tableSlots
	for first := 0; first < chartSlots; first += each {
		most, any := int64(0), false
		for n := first; n < first+each; n++ {
			most, any = max(most, slots[n]), any || known[n]
		}
		if any {
			rows = append(rows, ChartRow{At: in.From.Add(in.Until.Sub(in.From) * time.Duration(first) / chartSlots), Most: in.Unit(most)})
		}
	}
	return rows
}

// height is how far below the upper edge the value is.
func height(v, top int64) float64 { return chartHeight - float64(v)/float64(top)*(chartHeight-1) }

// area is the path around the values: a step for each minute, nothing where nothing is known.
func area(slots [chartSlots]int64, known [chartSlots]bool, top int64) string {
	var p strings.Builder
	const width = 100. / chartSlots
	for n, v := range slots {
		if !known[n] {
			continue
		}
		if n == 0 || !known[n-1] {
			fmt.Fprintf(&p, "M%s %d", components.Hundredths(float64(n)*width), chartHeight)
		}
		fmt.Fprintf(&p, "V%sH%s", components.Hundredths(min(height(v, top), chartHeight-.5)), components.Hundredths(float64(n+1)*width))
		if n == chartSlots-1 || !known[n+1] {
			fmt.Fprintf(&p, "V%dZ", chartHeight)
		}
	}
	return p.String()
}

// Said is the chart in words.
func (c Chart) Said() string {
	if c.Now == "" {
		return c.Title + ": not measured yet"
	}
	text := c.Title + ": " + c.Now + " now, at most " + c.Most + " in the last hour"
	if c.Limit != "" {
		text += ", of " + c.Limit + " allowed"
	}
	return text
}
