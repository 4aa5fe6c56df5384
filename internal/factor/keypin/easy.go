package keypin

import (
	_ "embed"
	"strconv"
	"strings"
)

// About a tenth of all PINs is refused: a larger blocklist buys little against
// an attacker who has five tries, and costs people's patience (Markert et al.,
// "This PIN Can Be Easily Guessed").

//go:embed favourites.txt
var favouritesText string

var favourites = readFavourites(favouritesText)

// readFavourites takes the digits of each line; what follows # says why.
func readFavourites(text string) map[string]bool {
	set := map[string]bool{}
	for line := range strings.Lines(text) {
		pins, _, _ := strings.Cut(line, "#")
		for _, pin := range strings.Fields(pins) {
			set[pin] = true
		}
	}
	return set
}

// easy reports whether a PIN of 4 or 6 digits follows a pattern that people
// choose, or is one of the favourites of published leaks.
func easy(pin string) bool {
	return evenSteps(pin) || repeatsBlock(pin) || equalBlocks(pin) || mostlyZeros(pin) ||
		isDate(pin) || keypadWalk(pin) || favourites[pin]
}

// evenSteps: 1111, 1234, 9876, 7890, 2468, 8642.
func evenSteps(pin string) bool {
	step := (pin[1] - pin[0] + 10) % 10
	for i := 2; i < len(pin); i++ {
		if (pin[i]-pin[i-1]+10)%10 != step {
			return false
		}
	}
	return step <= 2 || step >= 8
}

// repeatsBlock: 1212, 121212, 123123.
func repeatsBlock(pin string) bool {
	for size := 1; size <= len(pin)/2; size++ {
		if len(pin)%size == 0 && strings.Repeat(pin[:size], len(pin)/size) == pin {
			return true
		}
	}
	return false
}

// equalBlocks: 1122, 112233, 111222.
func equalBlocks(pin string) bool {
	for size := 2; size <= len(pin)/2; size++ {
		if len(pin)%size != 0 {
			continue
		}
		equal := true
		for i := range pin {
			equal = equal && pin[i] == pin[i-i%size]
		}
		if equal {
			return true
		}
	}
	return false
}

// mostlyZeros: 0001, 1000, 0010.
func mostlyZeros(pin string) bool { return len(strings.Trim(pin, "0")) <= 1 }

// isDate: a year from 1930 to 2039, MMDD and DDMM; with six digits a day and a
// year of two digits in any usual order, or a year and a month.
func isDate(pin string) bool {
	if len(pin) == 4 {
		return isYear(pin) || isDay(pin[:2], pin[2:]) || isDay(pin[2:], pin[:2])
	}
	return isDay(pin[:2], pin[2:4]) || isDay(pin[2:4], pin[:2]) || // MMDDYY, DDMMYY
		isDay(pin[2:4], pin[4:]) || // YYMMDD
		isYear(pin[:4]) && isDay(pin[4:], "01") || isYear(pin[2:]) && isDay(pin[:2], "01") // YYYYMM, MMYYYY
}

func isYear(digits string) bool { return digits >= "1930" && digits <= "2039" }

func isDay(month, day string) bool {
	longest := [...]int{31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}
	m, _ := strconv.Atoi(month)
	d, _ := strconv.Atoi(day)
	return m >= 1 && m <= 12 && d >= 1 && d <= longest[m-1]
}

// keypadWalk: each key beside, above or below the last one, none twice: 2580,
// 1478, 147896. The keypad is a telephone's, 0 under 8.
func keypadWalk(pin string) bool {
	for i := range pin {
		if strings.IndexByte(pin, pin[i]) != i {
			return false
		}
		if i == 0 {
			continue
		}
		r1, c1 := keyAt(pin[i-1])
		r2, c2 := keyAt(pin[i])
		if (r1-r2)*(r1-r2)+(c1-c2)*(c1-c2) != 1 {
			return false
		}
	}
	return true
}

func keyAt(digit byte) (row, column int) {
	if digit == '0' {
		return 3, 1
	}
	return int(digit-'1') / 3, int(digit-'1') % 3
}

// holds reports whether the PIN stands in one of the person's numbers.
func (p Personal) holds(pin string) bool {
	for _, phone := range p.Phones {
		if strings.Contains(onlyDigits(phone), pin) {
			return true
		}
	}
	for _, address := range p.Addresses {
		if strings.Contains(onlyDigits(address), pin) {
			return true
		}
		for _, number := range strings.FieldsFunc(address, func(r rune) bool { return r < '0' || r > '9' }) {
			if fillsUp(number, pin) {
				return true
			}
		}
	}
	return p.BirthYear > 0 && strings.Contains(pin, strconv.Itoa(p.BirthYear))
}

// fillsUp: a house number brought to a PIN's length by zeros or by saying it
// again: 42 as 0042, 4200, 4242.
func fillsUp(number, pin string) bool {
	if len(number) >= len(pin) {
		return false
	}
	zeros := strings.Repeat("0", len(pin)-len(number))
	return pin == zeros+number || pin == number+zeros ||
		pin == strings.Repeat(number, len(pin))[:len(pin)]
}

func onlyDigits(s string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, s)
}
