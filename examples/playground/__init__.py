"""A page where people play with trained models.

app.py      the command line: opens the runs and serves the page
page.py     the page: Gradio's components, and what happens when one is used
table.py    the runs, and what they do with the texts of those who play
draft.py    the text that is being written, and how to take a change back
view.py     what a run says of a text
panels.py   that as HTML
colours.py  the colours of surprisal
page.css, page.js  what the page looks like, and what it does in the browser
"""
