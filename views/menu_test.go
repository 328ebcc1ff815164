package views_test

import (
	"context"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// TestTheMenuOfAnAppOpensItsDialogs goes from an app's row in an environment to the form that scales it.
func TestTheMenuOfAnAppOpensItsDialogs(t *testing.T) {
	server := serve(t)
	ctx, done := context.WithTimeout(browser(t), 2*time.Minute)
	defer done()
	if err := chromedp.Do(ctx, chromedp.Navigate(server.URL+"/environment"),
		chromedp.Click(chromedp.CSS("button[popovertarget=menu-a1]")), chromedp.Click(chromedp.CSS("#menu-a1 [commandfor=scale-a1]")), chromedp.WaitVisible(chromedp.CSS("#scale-a1[open] [name=replicas]"))); err != nil {
		t.Fatal(err)
	}
	hidden, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`!document.querySelector("#menu-a1").matches(":popover-open")`))
	if err != nil || !hidden {
		t.Errorf("the menu is open behind the dialog (%v)", err)
	}
}
