"""Pages, one file each with a function ``page()``; ``dashboards.navigation`` lists them."""
