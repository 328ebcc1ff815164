package components

import (
	"strconv"
	"strings"
)

// Dollars writes an amount of US dollars, such as $1,234.50.
func Dollars(amount float64) string {
	text := strconv.FormatFloat(amount, 'f', 2, 64)
	whole, cents, _ := strings.Cut(text, ".")
	for at := len(whole) - 3; at > 0 && whole[at-1] != '-'; at -= 3 {
		whole = whole[:at] + "," + whole[at:]
	}
	return "$" + whole + "." + cents
}

// PricesNote says by which prices an estimate was made, and where to change them. List is which of its provider's lists they are of.
func PricesNote(list string, edited bool) string {
	if edited {
		return "An estimate by prices that an admin entered under Admin → Targets, and list prices for " + list + ". Traffic and storage come on top."
	}
	return "An estimate by list prices for " + list + ", which an admin edits under Admin → Targets. Traffic and storage come on top."
}
