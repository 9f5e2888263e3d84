"""Colours and style sheets, with a dark mode."""

from dither.training.drawing import BLUE

SHARES = ["#eceff1", "#d3e3ee", "#b3d3e8", "#8fc0df", "#69abd3", "#4595c5", "#247fb8", BLUE]
"""Colours from no finished runs to all."""

PLOT = """
@media (prefers-color-scheme: dark) {
  :host(.bk-Figure) { filter: invert(0.92) hue-rotate(180deg); }
}
"""
"""In dark mode a figure's lightness is inverted and its hues are kept."""

TEXT = """
:host { color: var(--ink); font: 15px/1.4 system-ui, sans-serif; }
.bk-clearfix { display: block; width: 100%; }
h1 { font-size: 1.4rem; margin: 0; overflow-wrap: anywhere; }
h1 small { font-size: 0.85rem; font-weight: 600; padding: 2px 10px; border-radius: 99px;
  color: var(--paper); white-space: normal; }
small.going { background: var(--going); }
small.ended { background: var(--soft); }
small.quiet { background: var(--quiet); }
h2 { font-size: 1rem; margin: 8px 0 4px; }
p { margin: 2px 0 8px; color: var(--soft); overflow-wrap: anywhere; }
.bar { height: 6px; border-radius: 3px; background: var(--line); margin: 6px 0 12px; }
.bar div { height: 100%; border-radius: 3px; background: var(--going); max-width: 100%; }
.tiles { display: grid; gap: 8px; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }
.tile { border: 1px solid var(--line); border-radius: 8px; padding: 8px 12px; }
.tile span, .tile i { display: block; font-size: 0.8rem; color: var(--soft); font-style: normal; }
.tile b { font-size: 1.2rem; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--soft); }
th, td { padding: 2px 14px 2px 0; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: break-word; }
@media (max-width: 480px) {
  .tiles { grid-template-columns: 1fr 1fr; }
}
"""

# Bokeh greets in the console; errors are still shown there
HTML = """
{% extends base %}
{% block preamble %}
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<script>console.log = console.info = console.debug = () => {};</script>
<style>
:root { --paper: #ffffff; --ink: #222222; --soft: #5f6368; --line: #dde1e4;
  --going: #0072b2; --quiet: #b34700; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15181b; --ink: #e6e6e6; --soft: #a3a9af; --line: #343a40;
    --going: #56b4e9; --quiet: #e69f00; }
}
body { background: var(--paper); color: var(--ink); }
main { max-width: 1240px; margin: 0 auto; padding: 16px; box-sizing: border-box; }
</style>
{% endblock %}
{% block contents %}
<main>{{ super() }}</main>
{% endblock %}
"""
