"""Studies that measure hierarchical attention: scaling, ablation, faithfulness, and the plan on paper."""
