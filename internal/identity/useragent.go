package identity

import "github.com/mileusna/useragent"

// browsers and systems are the only words about a browser that ever reach the
// record. What the parser calls otherwise is "other".
var (
	browsers = map[string]string{
		useragent.Chrome:           "Chrome",
		useragent.HeadlessChrome:   "Chrome",
		useragent.Firefox:          "Firefox",
		useragent.Safari:           "Safari",
		useragent.MobileSafari:     "Safari",
		useragent.Edge:             "Edge",
		useragent.Opera:            "Opera",
		useragent.OperaMini:        "Opera",
		useragent.OperaTouch:       "Opera",
		useragent.Vivaldi:          "Vivaldi",
		useragent.SamsungBrowser:   "Samsung Browser",
		useragent.InternetExplorer: "Internet Explorer",
	}
	systems = map[string]string{
		useragent.Windows:  "Windows",
		useragent.MacOS:    "macOS",
		useragent.IOS:      "iOS",
		useragent.Android:  "Android",
		useragent.Linux:    "Linux",
		useragent.ChromeOS: "ChromeOS",
		useragent.FreeBSD:  "FreeBSD",
	}
)

// unknownWord stands for a browser or system that is not in the list.
const unknownWord = "other"

// maxUserAgent bounds what is parsed; real headers are shorter.
const maxUserAgent = 512

// ReduceUserAgent turns a User-Agent header into a browser and a system from a
// fixed list, "Chrome, Windows". An unknown half is "other"; when both are,
// the answer is "other". Nothing of the header itself is ever returned.
func ReduceUserAgent(header string) string {
	agent := useragent.Parse(header[:min(len(header), maxUserAgent)])
	browser, system := browsers[agent.Name], systems[agent.OS]
	if browser == "" && system == "" {
		return unknownWord
	}
	if browser == "" {
		browser = unknownWord
	}
	if system == "" {
		system = unknownWord
	}
	return browser + ", " + system
}
