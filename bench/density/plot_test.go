// SPDX-License-Identifier: Apache-2.0

package density

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
)

// plot draws PSS at rest over the number of copies, both axes logarithmic, a panel an operator; distinct copies dashed.
func (b *bench) plot(t *testing.T) {
	path := os.Getenv("BENCH_PLOT")
	if path == "" {
		return
	}
	const width, height, left, top = 420.0, 300.0, 60.0, 40.0
	colours := map[string]string{"native": "#888888", "combined": "#2a7fb8", "containers": "#c0392b", "resident": "#e69f00", "asleep": "#009e73", "origin": "#8e44ad"}
	x := func(panel int, copies int) float64 {
		return float64(panel)*(width+left+20) + left + math.Log10(float64(copies))/2*width
	}
	y := func(bytes uint64) float64 { // 5 MB to 10 GB.
		return top + height - (math.Log10(float64(bytes))-math.Log10(5e6))/(10-math.Log10(5e6))*height
	}
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" width="%g" height="%g" font-family="sans-serif" font-size="12"><rect width="100%%" height="100%%" fill="white"/>`, 2*(width+left+20)+120, height+top+50)
	for panel, language := range []string{"rust", "go"} {
		fmt.Fprintf(&s, `<text x="%g" y="20" font-size="14">PSS at rest, %s chain operator (dashed: each copy another binary)</text>`, x(panel, 1), language)
		for _, bytes := range []uint64{1e7, 1e8, 1e9, 1e10} {
			fmt.Fprintf(&s, `<line x1="%g" x2="%g" y1="%g" y2="%g" stroke="#dddddd"/><text x="%g" y="%g" text-anchor="end">%g MB</text>`, x(panel, 1), x(panel, 100), y(bytes), y(bytes), x(panel, 1)-5, y(bytes)+4, float64(bytes)/1e6)
		}
		for _, copies := range []int{1, 10, 100} {
			fmt.Fprintf(&s, `<text x="%g" y="%g" text-anchor="middle">%d</text>`, x(panel, copies), top+height+18, copies)
		}
		for _, way := range allWays {
			for _, distinct := range []bool{false, true} {
				points := ""
				for _, r := range b.results {
					if r.Operator == language && r.Way == way && r.Skipped == "" && (r.Distinct == distinct || r.Copies == 1) {
						points += fmt.Sprintf("%.1f,%.1f ", x(panel, r.Copies), y(r.Idle.PSS))
					}
				}
				dash := map[bool]string{true: ` stroke-dasharray="5 4"`}[distinct]
				fmt.Fprintf(&s, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"%s/>`, points, colours[way], dash)
			}
		}
	}
	for i, way := range allWays {
		fmt.Fprintf(&s, `<text x="%g" y="%g" fill="%s">%s</text>`, 2*(width+left+20)+10, top+20+float64(i)*18, colours[way], way)
	}
	s.WriteString("</svg>\n")
	if err := os.WriteFile(path, []byte(s.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
