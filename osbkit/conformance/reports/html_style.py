"""How the HTML report looks: its style sheet, which goes into the file."""

STYLE = """\
:root {
  color-scheme: light dark;
  --paper: #fbfbf9; --card: #ffffff; --ink: #1d2327; --dim: #5c666d;
  --line: #dcdfdd; --code: #f1f2ef;
  --passed: #1c7c46; --failed: #b3261e; --blocked: #8a4b00; --error: #7b2fa0;
  --skipped: #6b757c; --stopped: #8a4b00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14181b; --card: #1c2226; --ink: #e6e9e8; --dim: #9aa5ab;
    --line: #333b40; --code: #232a2f;
    --passed: #5ccf8d; --failed: #ff8a80; --blocked: #f5b963; --error: #d79bf5;
    --skipped: #95a1a8; --stopped: #f5b963;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-padding-top: 1rem; }
body {
  margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 62rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  overflow-wrap: anywhere;
}
h1 { font-size: 1.6rem; line-height: 1.25; margin: .2rem 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .8rem; }
h3 { font-size: 1.02rem; margin: .5rem 0; }
i { font-style: normal; color: var(--dim); }
a { color: inherit; }
code, pre, .id { font-family: ui-monospace, SFMono-Regular, Menlo, monospace; }
.kind { margin: 0; color: var(--dim); }
.verdict { padding-left: .8rem; border-left: .35rem solid currentColor; }
.verdict.passed { color: var(--passed); }
.verdict.failed { color: var(--failed); }
.verdict.stopped { color: var(--stopped); }
.facts { display: flex; flex-wrap: wrap; gap: .4rem 2rem; margin: 0; }
dt { color: var(--dim); font-size: .85rem; }
dd { margin: 0; }
.counts { list-style: none; padding: 0; margin: 1.5rem 0; }
.counts li {
  display: grid; grid-template-columns: 5rem minmax(4rem, 14rem) 1fr;
  gap: .2rem 1rem; align-items: center; padding: .25rem 0;
}
.level { font-weight: 600; font-size: .85rem; }
.bar {
  display: flex; height: .7rem; border-radius: .35rem; overflow: hidden;
  background: var(--line);
}
.bar .passed { background: var(--passed); }
.bar .failed { background: var(--failed); }
.bar .blocked { background: var(--blocked); }
.bar .error { background: var(--error); }
.bar .skipped { background: var(--line); }
b.failed { color: var(--failed); }
b.blocked { color: var(--blocked); }
b.error { color: var(--error); }
b.passed { color: var(--passed); }
nav { display: flex; flex-wrap: wrap; gap: .4rem; }
nav a {
  padding: .15rem .7rem; border: 1px solid var(--line); border-radius: 1rem;
  background: var(--card); text-decoration: none; font-size: .88rem;
}
nav a.bad { border-color: var(--failed); color: var(--failed); }
.card {
  background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  border-left: .3rem solid var(--failed); padding: .8rem 1rem; margin: 0 0 1rem;
}
.card.blocked { border-left-color: var(--blocked); }
.card.error { border-left-color: var(--error); }
.card dl { margin: 0 0 .8rem; }
.card dt { margin-top: .4rem; }
.badges {
  display: flex; flex-wrap: wrap; gap: .3rem .7rem; align-items: center; margin: 0;
}
h3 code, dd code, td code, li code { font-size: .9em; }
.badges code { color: var(--dim); font-size: .82rem; }
.badge {
  display: inline-block; padding: 0 .5rem; border-radius: .8rem; font-size: .8rem;
  border: 1px solid currentColor; white-space: nowrap;
}
.badge.passed { color: var(--passed); }
.badge.failed { color: var(--paper); background: var(--failed); }
.badge.blocked { color: var(--blocked); }
.badge.error { color: var(--error); }
.badge.skipped { color: var(--skipped); border-style: dashed; }
.id { font-size: .85rem; white-space: nowrap; }
details { margin: .3rem 0; }
summary { cursor: pointer; padding: .2rem 0; }
details.section { border-bottom: 1px solid var(--line); }
details.exchange, details.rest {
  border: 1px solid var(--line); border-radius: .4rem; padding: .1rem .7rem;
}
details.rest { border-style: dashed; }
.exchange summary { font-size: .88rem; }
pre {
  margin: .4rem 0; padding: .7rem; background: var(--code); border-radius: .3rem;
  font-size: .8rem; line-height: 1.45; white-space: pre-wrap;
}
table { border-collapse: collapse; width: 100%; margin: .3rem 0 1rem; }
th { text-align: left; color: var(--dim); font-weight: normal; font-size: .85rem; }
th, td { padding: .35rem .9rem .35rem 0; vertical-align: top; }
td { border-top: 1px solid var(--line); }
td:nth-child(-n+2) { white-space: nowrap; }
td:nth-child(3) { max-width: 11rem; }
td small { display: block; color: var(--dim); }
.plans > div {
  display: grid; grid-template-columns: minmax(9rem, 16rem) 1fr; gap: .1rem 1rem;
  padding: .3rem 0; border-top: 1px solid var(--line);
}
.left {
  border: 1px solid var(--blocked); border-radius: .5rem; padding: 0 1rem;
  margin-top: 1.5rem;
}
footer { margin-top: 3rem; color: var(--dim); font-size: .85rem; }
@media (max-width: 40rem) {
  body { padding: 1rem .8rem 2rem; }
  h1 { font-size: 1.3rem; }
  .counts li { grid-template-columns: 4.5rem 1fr; }
  .counts li > :last-child { grid-column: 1 / -1; font-size: .9rem; }
  thead { display: none; }
  table, tbody { display: block; }
  tr {
    display: flex; flex-wrap: wrap; gap: .2rem .8rem; padding: .5rem 0;
    border-top: 1px solid var(--line);
  }
  td { display: block; border: 0; padding: 0; }
  td:nth-child(3) { max-width: none; }
  td:last-child { flex-basis: 100%; }
  .plans > div { grid-template-columns: 1fr; }
}
@media print {
  body { max-width: none; }
  .card { break-inside: avoid; }
}
"""
