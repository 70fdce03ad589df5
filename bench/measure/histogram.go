// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// HistogramQuantile is a quantile of what a Prometheus histogram has counted between two scrapes, linear within a bucket;
// NaN if it has counted nothing, the last bound if it lies beyond. Second: how many there were.
func HistogramQuantile(before, after map[string]float64, name, labels string, q float64) (float64, int) {
	type bucket struct{ bound, count float64 }
	sums := map[float64]float64{}
	for key, value := range after {
		if !strings.HasPrefix(key, name+"_bucket{") || !strings.Contains(key, labels) {
			continue
		}
		_, rest, _ := strings.Cut(key, `le="`)
		text, _, _ := strings.Cut(rest, `"`)
		bound, err := strconv.ParseFloat(text, 64)
		if err != nil {
			continue
		}
		sums[bound] += value - before[key]
	}
	var buckets []bucket
	for bound, count := range sums {
		buckets = append(buckets, bucket{bound, count})
	}
	slices.SortFunc(buckets, func(a, b bucket) int {
		if a.bound < b.bound {
			return -1
		}
		return 1
	})
	if len(buckets) == 0 || buckets[len(buckets)-1].count == 0 {
		return math.NaN(), 0
	}
	total := buckets[len(buckets)-1].count
	wanted, low, below := q*total, 0.0, 0.0
	for _, b := range buckets {
		if b.count >= wanted {
			if math.IsInf(b.bound, 1) {
				return low, int(total)
			}
			return low + (b.bound-low)*(wanted-below)/math.Max(b.count-below, 1), int(total)
		}
		low, below = b.bound, b.count
	}
	return low, int(total)
}
