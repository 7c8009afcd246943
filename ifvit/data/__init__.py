"""From fingers to batches: where impressions come from, who trains and who validates, pairs with exact maps."""
