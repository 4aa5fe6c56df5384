package view

import (
	"errors"
	"fmt"
	"strings"

	"rsc.io/qr"
)

// picture is black areas on a white ground of w by h modules, as the data of
// one SVG path.
type picture struct {
	w, h int
	path string
}

func (p picture) viewBox() string { return fmt.Sprintf("0 0 %d %d", p.w, p.h) }

// qrCode draws text as a QR code with its quiet zone; the zero picture where it
// is too long for one.
func qrCode(text string) picture {
	const quiet = 4
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return picture{}
	}
	var path strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			from := x
			for x < code.Size && code.Black(x, y) {
				x++
			}
			if x > from {
				fmt.Fprintf(&path, "M%d %dh%dv1H%dz", from+quiet, y+quiet, x-from, from+quiet)
			}
		}
	}
	return picture{code.Size + 2*quiet, code.Size + 2*quiet, path.String()}
}

// keyCardCode draws what a key card's bar code holds: identifier, TAB, key. A
// scanner types it as a keyboard would. The zero picture where the identifier
// has a symbol that Code 128 has not.
func keyCardCode(identifier, key string) picture {
	values, err := code128(identifier + "\t" + strings.ReplaceAll(key, "-", ""))
	if err != nil {
		return picture{}
	}
	const quiet = 10
	var path strings.Builder
	x := quiet
	for _, v := range values {
		for i, width := range code128Widths[v] {
			w := int(width - '0')
			if i%2 == 0 {
				fmt.Fprintf(&path, "M%d 0h%dv10H%dz", x, w, x)
			}
			x += w
		}
	}
	return picture{x + quiet, 10, path.String()}
}

var errCode128 = errors.New("a symbol is not in Code 128")

// code128 encodes text as the symbol values of ISO/IEC 15417: start, data,
// check, stop. It uses set B, and A for control characters.
func code128(text string) ([]int, error) {
	const shiftA, startB, stop = 98, 104, 106
	values := []int{startB}
	for _, r := range text {
		switch {
		case r >= ' ' && r < 0x7f:
			values = append(values, int(r-' '))
		case r < ' ':
			values = append(values, shiftA, int(r)+64)
		default:
			return nil, errCode128
		}
	}
	sum := values[0]
	for i, v := range values[1:] {
		sum += (i + 1) * v
	}
	return append(values, sum%103, stop), nil
}

// code128Widths are the widths of bars and spaces by symbol value (ISO/IEC
// 15417 table 1).
var code128Widths = strings.Fields(`
	212222 222122 222221 121223 121322 131222 122213 122312 132212 221213
	221312 231212 112232 122132 122231 113222 123122 123221 223211 221132
	221231 213212 223112 312131 311222 321122 321221 312212 322112 322211
	212123 212321 232121 111323 131123 131321 112313 132113 132311 211313
	231113 231311 112133 112331 132131 113123 113321 133121 313121 211331
	231131 213113 213311 213131 311123 311321 331121 312113 312311 332111
	314111 221411 431111 111224 111422 121124 121421 141122 141221 112214
	112412 122114 122411 142112 142211 241211 221114 413111 241112 134111
	111242 121142 121241 114212 124112 124211 411212 421112 421211 212141
	214121 412121 111143 111341 131141 114113 114311 411113 411311 113141
	114131 311141 411131 211412 211214 211232 2331112`)
