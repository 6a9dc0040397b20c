"""The console's pages: what is live, why, and what to do next. `view` says what a page shows, the rest how it looks."""
