"""From impressions to training batches: pairs with exact maps, rendered, warped or aligned beforehand."""
